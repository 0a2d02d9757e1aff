"""From scan space to model space and back, with limits and spacing fitted on training subjects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan
from lesionforge.config import IntensityName, Millimetres, RoiSize
from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.geometry import Geometry, plan_geometry, turned_spacing
from lesionforge.preprocessing.intensity import Head, Intensity, Percentile, Range, tissue_level, to_file, to_model


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A scan as a model sees it.

    Attributes:
        image: ``(channel, x, y[, z])`` in the model's range, which the brightest voxels may exceed; for a 2D model on a
            volume, slices lie along z.
        label: ``(x, y[, z])`` lesion classes, or ``None`` if unknown.
        anatomy: ``(x, y[, z])`` structures, or ``None``.
        region: ``(x, y[, z])`` the brain or its parenchyma, in which lesions lie, or ``None`` if not computed.
        spacing: millimetres per spatial axis.
        case_id: its case.
        subject_id: its subject.
        height: relative position, 0 to 1, of a slice along the volume it was cut from.
        level: for each channel, the level of typical tissue as a share of the model's range.
        fluid: ``(x, y[, z])`` pools of fluid in the region, where no new lesion may lie, or ``None`` if not found.
        lacks: numbers of the channels that the scan lacks; they are background everywhere.
    """

    image: FloatArray
    label: LabelArray | None
    anatomy: LabelArray | None
    region: BoolArray | None
    spacing: tuple[float, ...]
    case_id: str
    subject_id: str
    height: float = 0.5
    level: tuple[float, ...] = ()
    fluid: BoolArray | None = None
    lacks: tuple[int, ...] = ()

    def relative_to_tissue(self, image: FloatArray, output: Range) -> FloatArray:
        """Scale an image so that the background is −1 and typical tissue about 0, in each channel.

        Args:
            image: ``(channel, x, y[, z])`` in the range ``output``: this sample's image, or an image made from it.
            output: the model's range.
        """
        low, high = output
        level = np.asarray(self.level, np.float32).reshape(-1, *[1] * (image.ndim - 1))
        return (image - low) / (high - low) / level - 1

    def with_lesion(self, image: FloatArray, mask: LabelArray) -> Sample:
        """Return this sample with a new image and the union of its label and ``mask`` as label."""
        label = mask if self.label is None else np.where(mask > 0, mask, self.label)
        return self.edited(image, label)

    def edited(self, image: FloatArray, label: LabelArray) -> Sample:
        """Return this sample with a new image and a new label."""
        return replace(self, image=image, label=label.astype(np.int16))

    def as_item(self) -> dict[str, Any]:
        """Return this sample as a MONAI dictionary: channel-first arrays, and the facts that synthesis needs.

        Raises:
            CohortError: if the lesions are unknown.
        """
        if self.label is None:
            raise CohortError(self.case_id, "its lesions are unknown", "annotate it, or leave it out")
        return {
            "image": self.image,
            "label": self.label[None],
            "region": None if self.region is None else self.region[None],
            "fluid": None if self.fluid is None else self.fluid[None],
            "anatomy": None if self.anatomy is None else self.anatomy[None],
            "spacing": self.spacing,
            "case_id": self.case_id,
            "subject_id": self.subject_id,
            "height": self.height,
            "level": self.level,
        }

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Sample:
        """Return the sample of a MONAI dictionary; only ``image`` and ``label`` are required."""
        image = np.asarray(item["image"], np.float32)
        region, fluid, anatomy = (item.get(name) for name in ("region", "fluid", "anatomy"))
        return cls(
            image=image,
            label=np.asarray(item["label"])[0].astype(np.int16),
            region=None if region is None else np.asarray(region)[0] > 0,
            fluid=None if fluid is None else np.asarray(fluid)[0] > 0,
            anatomy=None if anatomy is None else np.asarray(anatomy)[0].astype(np.int16),
            spacing=tuple(item.get("spacing", (1.0,) * (image.ndim - 1))),
            case_id=str(item.get("case_id", "")),
            subject_id=str(item.get("subject_id", "")),
            height=float(item.get("height", 0.5)),
            level=tuple(item.get("level", ())),
        )

    def as_scan(self) -> Scan:
        """Return this sample as a scan on a straight grid, for mask sources."""
        spacing = (*self.spacing, *[1.0] * (3 - len(self.spacing)))
        case = Case(case_id=self.case_id, subject_id=self.subject_id, images={}, annotation=Annotation.UNKNOWN)
        return Scan(
            case=case,
            channels=tuple(str(number) for number in range(len(self.image))),
            image=self.image,
            label=self.label,
            affine=np.diag([*spacing, 1.0]),
            anatomy=self.anatomy,
            region=self.region,
            fluid=self.fluid,
            height=self.height,
        )

    def slices(self) -> list[Sample]:
        """Return the 2D samples along the last axis of a volume."""
        return [self.slice(z) for z in range(self.image.shape[-1])]

    def slice(self, z: int) -> Sample:
        """Return one 2D sample of a volume."""
        cut = {
            name: None if array is None else np.ascontiguousarray(array[..., z])
            for name, array in (
                ("image", self.image),
                ("label", self.label),
                ("anatomy", self.anatomy),
                ("region", self.region),
                ("fluid", self.fluid),
            )
        }
        height = (z + 0.5) / self.image.shape[-1]
        return replace(self, **cut, spacing=self.spacing[:2], height=height)  # type: ignore[arg-type]


class Preprocessing(BaseModel):
    """The grid and the intensities that a model works with.

    Attributes:
        spatial_dims: 2 or 3; a 2D model takes a volume slice by slice along its thickest axis.
        channels: the image channels, in order.
        spacing: target spacing in mm, or ``None`` for each scan's own; for a 2D model the two in-plane values.
        shape: size to crop or pad to, or ``None``.
        intensity: the rule for the intensities that map to the ends of ``output``.
        output: the model's range, (0, 1) or (−1, 1).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    spatial_dims: Literal[2, 3]
    channels: tuple[str, ...]
    spacing: tuple[Millimetres, ...] | None = None
    shape: RoiSize | None = None
    intensity: Intensity = Head()
    output: Range = (-1.0, 1.0)

    @classmethod
    def fit(
        cls,
        fingerprint: Fingerprint,
        *,
        spatial_dims: Literal[2, 3],
        spacing: tuple[float, ...] | None = None,
        intensity: Intensity | IntensityName = "head",
    ) -> Self:
        """Fit the target spacing, unless given, and the limits of ``head`` to a fingerprint of *training* cases.

        Raises:
            ConfigError: if the model is 3D and the cases are slices.
        """
        if spatial_dims > fingerprint.spatial_dims:
            raise ConfigError(fingerprint.name, "is a cohort of slices, which have no third axis", "use spatial_dims=2")
        if intensity == "head":
            intensity = Head(reach=fingerprint.reach)
        elif intensity == "percentile":
            intensity = Percentile()
        return cls(
            spatial_dims=spatial_dims,
            channels=fingerprint.channels,
            spacing=spacing or _median_spacing(fingerprint, spatial_dims),
            intensity=intensity,
        )

    def geometry(self, scan: Scan) -> Geometry:
        """Return the mapping from this scan's grid to the model's."""
        return plan_geometry(scan, spatial_dims=self.spatial_dims, spacing=self.spacing, shape=self.shape)

    def limits(self, scan: Scan) -> list[Range]:
        """Return, for each channel, the file intensities that map to the ends of the model's range."""
        return self.intensity.limits(scan.image)

    def forward(self, scan: Scan, *, image: FloatArray | None = None) -> Sample:
        """Map a scan to the model's grid and range.

        Args:
            scan: a scan with exactly the channels of this preprocessing.
            image: ``(channel, x, y[, z])`` to use in place of the scan's image, on its grid and in its units; limits
                and tissue level still come from the scan.

        Raises:
            ConfigError: if the scan has other channels, or the same in another order.
        """
        if scan.channels != self.channels:
            has, needs = (", ".join(names) for names in (scan.channels, self.channels))
            what = f"was read with the channels {has}, but the model was trained on {needs}, in this order"
            raise ConfigError(scan.case.case_id, what, "read it with the model's channels")
        geometry = self.geometry(scan)

        def to_grid(labels: LabelArray | BoolArray | None) -> LabelArray | None:
            return None if labels is None else geometry.to_model(labels.astype(np.int16), label=True)

        region, fluid = to_grid(scan.region), to_grid(scan.fluid)
        own = self.normalised(scan)
        shown = own if image is None else self.normalised(scan, image)
        low, high = self.output
        background = np.full((len(self.channels), *([1] * scan.spatial_dims)), self.output[0], np.float32)
        return Sample(
            image=geometry.to_model(shown - background) + background,
            label=to_grid(scan.label),
            anatomy=to_grid(scan.anatomy),
            region=None if region is None else region > 0,
            fluid=None if fluid is None else fluid > 0,
            spacing=geometry.spacing,
            case_id=scan.case.case_id,
            subject_id=scan.case.subject_id,
            level=tuple(tissue_level((channel - low) / (high - low)) for channel in own),
        )

    def forward_known(self, scan: Scan) -> Sample:
        """Map a scan that may lack channels; see :meth:`forward`.

        Args:
            scan: a scan with at least one channel of this preprocessing, in their order, and no other.
        """
        known = [number for number, channel in enumerate(self.channels) if channel in scan.channels]
        intensity = self.intensity
        if isinstance(intensity, Head) and intensity.reach:
            intensity = Head(reach=tuple(intensity.reach[number] for number in known))
        channels = tuple(self.channels[number] for number in known)
        sample = self.model_copy(update={"channels": channels, "intensity": intensity}).forward(scan)
        image = np.full((len(self.channels), *sample.image.shape[1:]), self.output[0], np.float32)
        level = np.ones(len(self.channels))
        image[known], level[known] = sample.image, sample.level
        lacks = tuple(number for number in range(len(self.channels)) if number not in known)
        return replace(sample, image=image, level=tuple(level.tolist()), lacks=lacks)

    def normalised(self, scan: Scan, image: FloatArray | None = None) -> FloatArray:
        """Return the scan's image, or another image in its units, in the model's range on the scan's own grid."""
        shown, clip = scan.image if image is None else image, self.intensity.clips
        pairs = zip(shown, self.limits(scan), strict=True)
        return np.stack([to_model(channel, limits, self.output, clip=clip) for channel, limits in pairs])

    def inverse(
        self, edited: FloatArray, scan: Scan, *, before: FloatArray | None = None, within: BoolArray | None = None
    ) -> tuple[FloatArray, BoolArray]:
        """Map an edited image back onto its scan.

        Only the difference to ``forward(scan)`` is mapped to the scan's grid and added there. Detail that resampling
        would lose stays, and unchanged voxels are exactly those of the original.

        Args:
            edited: ``(channel, x, y[, z])`` in the model's grid and range.
            scan: the original scan.
            before: the image of ``forward(scan)``; computed by default.
            within: voxels of the scan that may change; by default all.

        Returns:
            The image in the file's units, and the changed voxels ``(x, y[, z])``.
        """
        change = self.geometry(scan).to_scan(edited - (self.forward(scan).image if before is None else before))
        touched = (change != 0).any(axis=0)
        if within is not None:
            touched &= within
        limits, image = self.limits(scan), scan.image.copy()
        for channel, changed, limit in zip(image, change, limits, strict=True):
            values = to_model(channel[touched], limit, self.output, clip=self.intensity.clips) + changed[touched]
            channel[touched] = to_file(values, limit, self.output)
        return image, touched

    def replace(self, drawn: FloatArray, scan: Scan) -> tuple[FloatArray, BoolArray]:
        """Replace the scan by a drawn image, wherever the model's grid covers the scan.

        Args:
            drawn: ``(channel, x, y[, z])`` in the model's grid and range.
            scan: the original scan; the result is on its grid and in its units.
        """
        geometry = self.geometry(scan)
        covered = geometry.to_scan(np.ones(geometry.shape, np.int16), label=True) > 0
        values, limits = geometry.to_scan(drawn), self.limits(scan)
        new = np.stack([to_file(c, limit, self.output) for c, limit in zip(values, limits, strict=True)])
        return np.where(covered, new, scan.image), covered


def _median_spacing(fingerprint: Fingerprint, spatial_dims: int) -> tuple[float, ...]:
    turned = [
        turned_spacing(case.spacing, case.orientation, spatial_dims, size=case.size) for case in fingerprint.cases
    ]
    return tuple(float(s) for s in np.median(turned, axis=0)[:spatial_dims])
