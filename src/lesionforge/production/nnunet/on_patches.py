"""Lesions drawn into the patches that nnU-Net's data loader cuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from monai.transforms import MapTransform
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import ModelError
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.edits import EditedMasks
from lesionforge.masks.slice_masks import SliceBank
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.production.nnunet.case_space import CaseSpace, case_space
from lesionforge.production.nnunet.plans import Plans
from lesionforge.production.on_the_fly import CarveMixd, SynthesizeLesiond
from lesionforge.progress import progress_bar
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.training.items.samples import cached_samples


class PlacedCases:
    """nnU-Net's cases, with a map of where lesions may lie that is cut along with each patch.

    nnU-Net's data loader cuts the segmentation of an earlier stage along with image and segmentation, and hands all
    three to the transforms. A network of one stage has none, so the map takes its place; :class:`DrawLesions` takes it
    away again.

    Args:
        cases: nnU-Net's training cases.
        spaces: case_id → its space.
    """

    def __init__(self, cases: nnUNetBaseDataset, spaces: Mapping[str, CaseSpace]) -> None:
        self.cases, self.spaces = cases, spaces
        self.identifiers: list[str] = cases.identifiers
        self.cut: CaseSpace | None = None

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, Any]:
        """Return image, segmentation, map and properties of a case, and remember it as the one that is cut next."""
        data, seg, _, properties = self.cases.load_case(identifier)
        self.cut = self.spaces[identifier]
        return data, seg, self.cut.place, properties


class DrawLesions(BasicTransform):
    """The first transform of a patch: draws a lesion into some.

    Chance follows NumPy's global state, as everywhere in nnU-Net, whose workers differ in it.

    Args:
        transform: draws into an item of the synthesizer's space.
        cases: the cases from which patches are cut.
        prob: probability of a lesion for each patch.
    """

    def __init__(self, transform: MapTransform, cases: PlacedCases, *, prob: float) -> None:
        super().__init__()
        self.transform, self.cases, self.prob = transform, cases, prob

    def __call__(self, **patch: Any) -> dict[str, Any]:
        """Return the patch without the map, with a lesion or as it is; it stays as it is if no mask fits."""
        seg, place = patch["segmentation"].numpy()
        image, space = patch["image"].numpy(), self.cases.cut
        if np.random.random() < self.prob and space is not None:  # noqa: NPY002
            before = space.sample(image, seg, place)
            item = apply_seeded(self.transform, before.as_item(), int(np.random.randint(2**31)))  # noqa: NPY002
            image, seg = space.drawn(image, seg, before, Sample.from_item(item))
        return {**patch, "image": torch.from_numpy(image), "segmentation": torch.from_numpy(seg[None])}


def drawing_transform(model: Synthesizer, train: Cohort) -> MapTransform:
    """Return the transform that draws with a model into every item; masks are edited ones of the training cases.

    Args:
        model: the synthesizer.
        train: the training cases, real and synthetic; masks come from the real ones.

    Raises:
        ModelError: if the model cannot draw into patches.
        ConfigError: if it needs masks and no training case has a lesion.
    """
    if not model.draws_on_the_fly:
        raise ModelError(model.method, "copies whole scans", "use its cases with export, or take another method")
    if not model.needs_mask:
        return CarveMixd(model, prob=1.0)
    real = train.with_cases([case for case in train.annotated() if not case.derived])
    if model.info.preprocessing.spatial_dims == 3:
        return SynthesizeLesiond(model, EditedMasks(MaskBank(real)), prob=1.0)
    samples = cached_samples(real.with_lesions(), model.info.preprocessing, prepare=with_region)
    return SynthesizeLesiond(model, EditedMasks(SliceBank(samples)), prob=1.0)


def case_spaces(cases: nnUNetBaseDataset, train: Cohort, model: Synthesizer, plans: Plans) -> dict[str, CaseSpace]:
    """Return the space of every training case; each is read once, and its brain is found.

    Raises:
        ConfigError: see :func:`case_space`.
        CohortError: if a case cannot be read; see :func:`case_space`.
    """
    spaces, preprocessing = {}, model.info.preprocessing
    with progress_bar("finding where lesions may lie") as progress:
        for number, identifier in enumerate(cases.identifiers, start=1):
            scan = with_region(load_scan(train[identifier], preprocessing.channels))
            data, _, _, properties = cases.load_case(identifier)
            spaces[identifier] = case_space(scan, preprocessing, plans, {**properties, "shape": data.shape[1:]})
            progress(number, len(cases.identifiers))
    return spaces
