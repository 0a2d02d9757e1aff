"""Any of the named edits of a scan's own lesions, another one for each mask."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from lesionforge.cohort.scan import Scan
from lesionforge.config import MethodConfig
from lesionforge.errors import PlacementError
from lesionforge.masks.base import MaskSource
from lesionforge.masks.editing.edit_config import OWN_EDITS, EditConfig
from lesionforge.masks.editing.named_edits import NamedEdits
from lesionforge.masks.mask import DrawnMask, PlacedMask


class AnyEdit(MaskSource):
    """Enlarges, shrinks, shifts or mirrors the lesions of a scan; see :class:`NamedEdits`.

    Args:
        config: the options of the edits, with ``edit`` of ``any``.
    """

    method = "edited"
    Config: ClassVar[type[MethodConfig]] = EditConfig
    of_own_lesion = True
    instead = True

    def __init__(self, config: EditConfig) -> None:
        self.edits = [NamedEdits(config.model_copy(update={"edit": edit})) for edit in OWN_EDITS]
        self.subjects = frozenset()

    @property
    def digest(self) -> str:
        """The digests of the edits."""
        return f"any of {', '.join(edit.digest for edit in self.edits)}"

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Return the lesions after one random edit; they may be fewer than before, or none."""
        return self.edits[rng.integers(len(self.edits))].draw(scan, rng)

    def sample(self, scan: Scan, rng: np.random.Generator, **options: Any) -> PlacedMask:
        """Return the lesions after a random edit, or after another one if it does not fit; see :class:`NamedEdits`.

        Raises:
            PlacementError: if the scan has no brain, or no edit fits.
            CohortError: if the scan has no lesion to edit.
        """
        *others, last = (self.edits[number] for number in rng.permutation(len(self.edits)))
        for edit in others:
            try:
                return edit.sample(scan, rng, **options)
            except PlacementError:
                continue
        return last.sample(scan, rng, **options)
