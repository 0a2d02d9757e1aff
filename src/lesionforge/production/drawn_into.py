"""Target scans: scans to draw into, as they are or with their own lesions removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lesionforge.cohort.case import Case
from lesionforge.cohort.scan import BoolArray, Scan, load_scan
from lesionforge.errors import CohortError, ConfigError
from lesionforge.healers.base import Healer
from lesionforge.preprocessing.brain.region import fluid_of, with_region
from lesionforge.preprocessing.lesions.vacated import fill_vacated
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.production.heal import heal_scan
from lesionforge.production.network_changes import HEALER_CHANGED_INSIDE, HEALER_CHANGED_OUTSIDE, LEAST_CHANGE
from lesionforge.synthesizers.base import Synthesizer


@dataclass(frozen=True, kw_only=True)
class Target:
    """A scan to draw into.

    Attributes:
        scan: the scan, possibly with its lesions removed.
        sample: ``scan`` in model space.
        original: the scan as stored; new lesions avoid its lesions.
        touched: ``(x, y[, z])`` mask of the voxels in which ``scan`` differs from ``original``.
        fluid: ``(x, y[, z])`` fluid of ``original``; ``None`` if it cannot be told from tissue.
        healer_changed: ``healer_changed_outside`` and ``healer_changed_inside`` → what the healer changed outside and
            inside the lesions before blending, see :class:`~lesionforge.production.heal.HealedScan`; empty without one.
    """

    scan: Scan
    sample: Sample
    original: Scan
    touched: BoolArray
    fluid: BoolArray | None
    healer_changed: Mapping[str, float | None] = field(default_factory=dict)

    def without_lesions(self) -> Target:
        """Return the target without lesions in label and anatomy, for masks that take their place."""
        scan, sample, parenchyma = self.scan, self.sample, self.scan.case.parenchyma
        scan, sample = replace(scan, **_emptied(scan, parenchyma)), replace(sample, **_emptied(sample, parenchyma))
        return replace(self, scan=scan, sample=sample)


class Targets:
    """Reads target scans and keeps the last one, since consecutive cases often share a scan.

    Args:
        model: the synthesizer that draws into the scans.
        healer: removes the lesions of the label, and the lesions that it finds itself.

    Raises:
        ConfigError: if the two models differ in channels or dimensions.
    """

    def __init__(self, model: Synthesizer, healer: Healer | None = None) -> None:
        self.preprocessing, self.healer = model.info.preprocessing, healer
        self.with_region = model.needs_mask or model.finds_place
        if healer is not None and healer.info.preprocessing.channels != self.preprocessing.channels:
            names = [", ".join(info.preprocessing.channels) for info in (healer.info, model.info)]
            what = f"the model takes {names[0]}, but the lesions are drawn into {names[1]}"
            raise ConfigError("`heal`", what, "use models of the same channels")
        self.last: tuple[Case, Target] | None = None

    def read(self, case: Case) -> Target:
        """Return the scan of a case, ready to be drawn into.

        Raises:
            CohortError: if it cannot be read, or the healer leaves its lesions as they are.
        """
        if self.last is None or self.last[0] != case:
            original = load_scan(case, self.preprocessing.channels)
            if self.with_region:
                original = with_region(original)
            scan, touched, changed = original, np.zeros(original.spatial_shape, bool), dict[str, float | None]()
            if self.healer is not None:
                scan, touched, changed = self._heal(self.healer, original)
            target = Target(
                scan=scan,
                sample=self.preprocessing.forward(scan),
                original=original,
                touched=touched,
                fluid=fluid_of(original),
                healer_changed=changed,
            )
            self.last = case, target
        return self.last[1]

    def _heal(self, healer: Healer, scan: Scan) -> tuple[Scan, BoolArray, dict[str, float | None]]:
        sample = healer.info.preprocessing.forward(scan)
        healed, _ = heal_scan(healer, scan, sample, blend="lesion", known=scan.label)
        if healed.changed_inside is not None and healed.changed_inside < LEAST_CHANGE:
            what = f"keeps its lesions: {healer.method} changed them by less than 1 % of the intensity range"
            raise CohortError(scan.case.case_id, what, "train that model again, longer or with another seed")
        without = replace(scan, image=healed.image, **_emptied(scan, scan.case.parenchyma))
        changed = {HEALER_CHANGED_OUTSIDE: healed.changed_outside, HEALER_CHANGED_INSIDE: healed.changed_inside}
        return without, healed.touched, changed


def _emptied(of: Scan | Sample, parenchyma: tuple[int, ...]) -> dict[str, Any]:
    """Return a label without lesions, or ``None`` if they are unknown, and the anatomy without them."""
    label = None if of.label is None else np.zeros_like(of.label)
    anatomy = fill_vacated(of.anatomy, of.label, parenchyma=parenchyma, spacing=of.spacing)
    return {"label": label, "anatomy": anatomy}
