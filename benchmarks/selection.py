"""Are drawn images scored faster than they are drawn?

Compares the three scores of ``lesionforge select`` on slices of 256 × 256 pixels (variance of the Laplacian and the
spectrum, the realism classifier, the Dice of the default segmentation network) with the drawing of these slices by
pix2pix from label maps at the published size, files read and written included; and the same with the training of the
four classifiers, spread over 1000 images. The segmentation network is there before.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from comparison import Comparison, alternate, show
from data import haemorrhages, one_thread, slice_preprocessing, untrained_pix2pix
from torch.nn.functional import binary_cross_entropy_with_logits

from lesionforge.cohort.case import Cohort
from lesionforge.masks.own import OwnMasks
from lesionforge.networks.googlenet import GoogLeNet
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.synthesize import synthesize_cohort
from lesionforge.scores.drawn_images.realism_classifier import RealismConfig, RealOrDrawn, probability_real, read_views
from lesionforge.scores.drawn_images.segmentability import segmentability
from lesionforge.scores.drawn_images.sharpness import cohort_sharpness
from lesionforge.synthesizers.translation.pix2pix import Pix2PixConfig
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig, make_network
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training.model_folder import describe

SIDE, SLICES, ROUNDS, IMAGES, TRAININGS, STEPS = 256, 4, 3, 1000, 4, 4
WIDTHS = (64, 128, 256, 512, 512, 512, 512, 512)


def measure() -> list[Comparison]:
    one_thread()
    with TemporaryDirectory() as name:
        folder = Path(name)
        cohort = haemorrhages(folder, n_subjects=SLICES, side=SIDE)
        preprocessing = slice_preprocessing(cohort)
        draw = drawing(cohort, preprocessing, folder)
        score, train = scoring(draw(), preprocessing), training(cohort, preprocessing)
        rounds = alternate(ROUNDS, score, draw, train)
    share = RealismConfig().steps * TRAININGS / STEPS / IMAGES * SLICES
    options = {"second": "drawing them", "at_most": 1.0}
    return [
        Comparison(
            name=f"{SLICES} slices of {SIDE} × {SIDE}", first="scores", pairs=[row[:2] for row in rounds], **options
        ),
        Comparison(
            name=f"the same, of {IMAGES}",
            first="scores and training of the classifiers",
            pairs=[(scored + share * trained, drawn) for scored, drawn, trained in rounds],
            **options,
        ),
    ]


def drawing(cohort: Cohort, preprocessing: Preprocessing, folder: Path) -> Callable[[], Cohort]:
    config = Pix2PixConfig(condition="label", channels=WIDTHS, width=1.0, roi_size=(SIDE, SIDE))
    model, numbers = untrained_pix2pix(cohort, preprocessing, config), count()

    def draw() -> Cohort:
        out = folder / f"drawn{next(numbers)}"
        return synthesize_cohort(model, cohort, OwnMasks(), out=out, n=SLICES, blend="full").cohort

    return draw


def scoring(drawn: Cohort, preprocessing: Preprocessing) -> Callable[[], None]:
    config = SegmentationConfig(roi_size=(SIDE, SIDE))
    info = describe("segmentation", config, preprocessing, drawn)
    task = SegmentationTask(info=info, network=make_network(config, info).eval())
    classifier, options = GoogLeNet(in_channels=1, width=RealismConfig().width).eval(), RealismConfig()

    def score() -> None:
        segmentability(task, drawn)
        cohort_sharpness(drawn)
        for case in drawn:
            probability_real(classifier, read_views(case, preprocessing, options.look_at), options.side)

    return score


def training(cohort: Cohort, preprocessing: Preprocessing) -> Callable[[], None]:
    config = RealismConfig()
    views = [view for case in cohort for view in read_views(case, preprocessing, config.look_at)]
    items = RealOrDrawn(views, [views], side=config.side, seed=0)
    network = GoogLeNet(in_channels=1, width=config.width)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)

    def train() -> None:
        for _ in range(STEPS):
            batch = [items[draw] for draw in range(config.batch_size)]
            images, real = (torch.stack([item[name] for item in batch]) for name in ("image", "real"))
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(network(images)[:, 0], real).backward()
            optimizer.step()

    return train


if __name__ == "__main__":
    show("Scores of drawn images, and their drawing", measure())
