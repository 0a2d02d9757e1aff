"""Does synthesis while a task trains leave most of the time to the training?

Compares what ``SynthesizeLesiond`` and ``CarveMixd`` add to the making of a batch (16 slices, half of them changed)
with a bare training step of the default segmentation network on 128 × 128 pixels. The slices are those of simulated
heads at 1.5 mm, the masks edited real ones, the generator is pix2pix at its default size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from comparison import Comparison, alternate, show
from data import one_thread, slice_preprocessing, tumours, untrained_pix2pix
from monai.transforms import Compose, Transform

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.masks.edits import EditedMasks
from lesionforge.masks.slice_masks import SliceBank
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.production.on_the_fly import CarveMixd, SynthesizeLesiond
from lesionforge.synthesizers.training_free.carvemix import CarveMix
from lesionforge.synthesizers.training_free.copy_paste import CopyPaste
from lesionforge.synthesizers.translation.pix2pix import Pix2PixConfig
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig, make_network
from lesionforge.tasks.segmentation.segmentation_module import SegmentationModule
from lesionforge.tasks.segmentation.training_cases import make_training_set
from lesionforge.tasks.segmentation.training_set import TrainingSet
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.items.source import Source
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import describe

BATCH, SIZE, SHARE, ROUNDS = 16, (128, 128), 0.5, 15


def measure() -> list[Comparison]:
    one_thread()
    with TemporaryDirectory() as name:
        folder = Path(name)
        cohort = tumours(folder, n_subjects=3, spacing=1.5)
        preprocessing = slice_preprocessing(cohort)
        samples = list(cached_samples(cohort, preprocessing, prepare=with_region))
        transforms = make_transforms(cohort, samples, preprocessing, folder)
    step = training_step(cohort, preprocessing)
    return [compare(name, transform, samples, preprocessing, step) for name, transform in transforms.items()]


def make_transforms(
    cohort: Cohort, samples: Sequence[Sample], preprocessing: Preprocessing, folder: Path
) -> dict[str, Transform]:
    roi_size = fingerprint(cohort, cohort.channels).roi_size(2, divisor=16)
    pix2pix = untrained_pix2pix(cohort, preprocessing, Pix2PixConfig(roi_size=roi_size))
    fitted = {
        method.method: method.fit(
            cohort,
            channels=cohort.channels,
            config={"spatial_dims": 2},
            training=TrainingConfig(),
            out=folder / method.method,
            preprocessing=preprocessing,
        )
        for method in (CopyPaste, CarveMix)
    }
    masks = EditedMasks(SliceBank(samples))
    return {
        f"pix2pix, {roi_size[0]} × {roi_size[1]} crops": SynthesizeLesiond(pix2pix, masks, prob=1.0),
        "copy_paste": SynthesizeLesiond(fitted["copy_paste"], masks, prob=1.0),
        "carvemix": CarveMixd(fitted["carvemix"], prob=1.0),
    }


def training_step(cohort: Cohort, preprocessing: Preprocessing) -> Callable[[], None]:
    config = SegmentationConfig(roi_size=SIZE)
    network = make_network(config, describe("segmentation", config, preprocessing, cohort))
    loss = SegmentationModule(network, learning_rate=1e-3, steps=1, seed=0).loss
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    image, label = torch.randn(BATCH, 1, *SIZE), torch.randint(2, (BATCH, 1, *SIZE))

    def step() -> None:
        optimizer.zero_grad()
        loss(network(image), label).backward()
        optimizer.step()

    return step


def compare(
    name: str, transform: Transform, samples: Sequence[Sample], preprocessing: Preprocessing, step: Callable[[], None]
) -> Comparison:
    config = SegmentationConfig(roi_size=SIZE, augment="none")

    def batches(source: Source) -> Callable[[], None]:
        items: TrainingSet = make_training_set([source], config, preprocessing, seed=0)
        draws = count()
        return lambda: [items[next(draws)] for _ in range(BATCH)]

    plain = batches(Source(samples=samples, lesion_share=SHARE))
    changed = batches(Source(samples=samples, transform=Compose([transform]), lesion_share=SHARE))
    rounds = alternate(ROUNDS, changed, plain, step)
    return Comparison(
        name=name,
        first="synthesis for a batch",
        second="training step",
        pairs=[(more - less, training) for more, less, training in rounds],
        at_most=0.3,
    )


if __name__ == "__main__":
    show("Synthesis on the fly, 16 slices of 128 × 128, half of them with a new lesion", measure())
