"""The meaning of the values of anatomy maps, and the values in which lesions may lie: ``anatomy.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

import numpy as np

from lesionforge.cohort.case import IMAGE_ENDINGS, Annotation, Cohort
from lesionforge.cohort.grid import same_grid
from lesionforge.cohort.map_maker import MapMaker, all_makers
from lesionforge.cohort.scan import LabelArray, Scan, read_label
from lesionforge.errors import CohortError, ConfigError
from lesionforge.files import write_json
from lesionforge.reading import read_json

FILE = "anatomy.json"
KEYS = ("method", "training_subjects")


@dataclass(frozen=True, kw_only=True)
class Structures:
    """The structures of an anatomy map.

    Attributes:
        names: structure → its value; 0 is outside.
        parenchyma: the values in which lesions may lie.
        maker: what made the maps; ``None`` if there is no record.
    """

    names: Mapping[str, int]
    parenchyma: tuple[int, ...]
    maker: MapMaker | None = field(default=None, compare=False)

    @classmethod
    def named(cls, names: Mapping[str, int]) -> Structures:
        """Return structures in which lesions may lie, except those that their names say are fluid or no brain."""
        places = (value for name, value in names.items() if not any(word in name.lower() for word in _NO_LESIONS))
        return cls(names=dict(names), parenchyma=tuple(places))

    @property
    def fluid(self) -> tuple[int, ...]:
        """The values of the structures that are fluid, by their names."""
        return tuple(value for name, value in self.names.items() if any(word in name.lower() for word in _FLUID))


_FLUID = ("ventricle", "fluid", "csf")
_LEFT_RIGHT = {
    "cerebral cortex": ((3, *range(1000, 1036), *range(11100, 11176)), (42, *range(2000, 2036), *range(12100, 12176))),
    "lateral ventricle": ((4, 5, 31, 136, 137), (43, 44, 63, 163, 164)),
    "cerebellar cortex": ((8,), (47,)),
    "thalamus": ((9, 10), (48, 49)),
    "caudate": ((11,), (50,)),
    "putamen": ((12,), (51,)),
    "pallidum": ((13,), (52,)),
    "hippocampus": ((17,), (53,)),
    "amygdala and accumbens": ((18, 26), (54, 58)),
    "ventral diencephalon": ((28,), (60,)),
}
_MIDDLE = {
    "cerebral white matter": (2, 25, 41, 57, 77, 78, 79, 80, 81, 82, *range(250, 256)),
    "cerebellar white matter": (7, 46),
    "brainstem": (16, *range(170, 179)),
    "third ventricle": (14, 72),
    "fourth ventricle": (15,),
    "cerebrospinal fluid and vessels": (24, 30, 62),
    "other tissue of the head": (85, *range(500, 532)),
}
_NO_LESIONS = (*_FLUID, "other tissue")

FREESURFER: Mapping[str, tuple[int, ...]] = {
    **_MIDDLE,
    **{
        f"{side} {name}": values[number]
        for name, values in _LEFT_RIGHT.items()
        for number, side in enumerate(("left", "right"))
    },
}
"""Structure → its values in FreeSurfer's colour table: 27 structures, by our own choice.

The stroke system also has 27 (Platscher et al. 2020), but does not list them. White matter is not split by side, so
that the corpus callosum has a place. Values 500 to 531 are the tissues outside the brain in SynthSeg's training maps.
"""

FREESURFER_STRUCTURES = Structures.named({name: number for number, name in enumerate(FREESURFER, start=1)})


def group_freesurfer(anatomy: LabelArray, where: str) -> LabelArray:
    """Return a FreeSurfer label map with its values grouped to the 27 structures of :data:`FREESURFER_STRUCTURES`.

    Args:
        anatomy: ``(x, y, z)``.
        where: the file or case that an error names.

    Raises:
        CohortError: if a value is not in the table.
    """
    table = np.full(max(20_000, int(anatomy.max()) + 1), -1, np.int16)
    table[0] = 0
    for name, values in FREESURFER.items():
        table[list(values)] = FREESURFER_STRUCTURES.names[name]
    grouped = table[np.clip(anatomy, 0, None)]
    strange = np.unique(anatomy[(grouped < 0) | (anatomy < 0)]).tolist()
    if strange:
        what = f"holds the values {strange}, which are not in FreeSurfer's table"
        raise CohortError(where, what, "correct them, or use the maps as they are without `group`")
    return np.asarray(grouped, np.int16)


def given_anatomy(scan: Scan, *, folder: Path, group: bool) -> LabelArray:
    """Return the anatomy map of a scan from a folder of files named like the cases.

    Args:
        scan: the scan.
        folder: holds ``CASE.nii.gz``, ``CASE.nii`` or ``CASE.png``.
        group: see :func:`group_freesurfer`.

    Raises:
        CohortError: if the file is missing, lies on another grid, or holds a value that is not in the table.
    """
    files = [folder / f"{scan.case.case_id}{ending}" for ending in IMAGE_ENDINGS]
    path = next(filter(Path.is_file, files), None)
    if path is None:
        raise CohortError(files[0], "there is no anatomy map of this case", "add it, or leave the case out")
    anatomy, affine = read_label(path)
    if anatomy.shape != scan.spatial_shape or not same_grid(anatomy.shape, affine, scan.affine):
        raise CohortError(path, f"is not on the grid of the scan {scan.case.case_id}", "resample it to that grid")
    return group_freesurfer(anatomy, str(path)) if group else anatomy


def structures_as_lesions(cohort: Cohort, folder: Path) -> Cohort:
    """Return the cases with anatomy maps, with the maps as labels and the structures as classes.

    A segmentation network that is trained on them segments the structures.

    Args:
        cohort: the cases.
        folder: the cohort folder, whose ``anatomy.json`` names the structures.

    Raises:
        CohortError: if no case has a map, the structures have no names, or their values are not 1, 2, 3, …
    """
    structures = read_structures(folder)
    mapped = [case for case in cohort if case.anatomy is not None]
    if structures is None or not mapped:
        missing = "anatomy.json, which names the structures" if mapped else "anatomy maps"
        raise CohortError(folder, f"has no {missing}", "make maps with `lesionforge anatomy`")
    if sorted(structures.names.values()) != list(range(1, len(structures.names) + 1)):
        values = ", ".join(map(str, structures.names.values()))
        raise CohortError(folder / FILE, f"has the values {values}, not 1, 2, 3, …", "renumber maps and structures")
    labels = {"background": 0, **structures.names}
    cases = [
        replace(case, label=case.anatomy, anatomy=None, annotation=Annotation.LESION, classes=labels) for case in mapped
    ]
    return replace(cohort, labels=labels, cases=tuple(cases))


def structures_of(cohorts: Iterable[Cohort]) -> Structures | None:
    """Return the meaning of the values of all anatomy maps of cohorts, and what made the maps.

    Args:
        cohorts: cohorts as they were read, whose maps lie beside ``anatomy.json``.

    Raises:
        ConfigError: if the values mean different things in two folders.
    """
    mapped = [(case.anatomy.parent.parent, case.map_maker) for cohort in cohorts for case in cohort if case.anatomy]
    folders = sorted({folder for folder, _ in mapped})
    found = [read_structures(folder) for folder in folders]
    if any(structures != found[0] for structures in found):
        where = " and ".join(map(str, folders))
        raise ConfigError(
            where, "the anatomy maps name other structures", "make both with the same options of `lesionforge anatomy`"
        )
    if not found or found[0] is None:
        return None
    return replace(found[0], maker=all_makers(maker for _, maker in mapped))


def read_structures(folder: Path) -> Structures | None:
    """Read ``anatomy.json`` of a cohort folder, if there is one.

    Raises:
        CohortError: if the file is invalid.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    remedy = 'write {"structures": {"white matter": 1}, "parenchyma": [1]}'
    content = read_json(path, remedy=remedy)
    try:
        names = {str(name): int(value) for name, value in content["structures"].items()}
        parenchyma = tuple(int(value) for value in content["parenchyma"])
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        raise CohortError(path, f"does not name structures and parenchyma ({error!r})", remedy) from error
    if strange := sorted(set(parenchyma) - set(names.values())):
        raise CohortError(path, f"parenchyma names the values {strange}, which belong to no structure", "correct it")
    return Structures(names=names, parenchyma=parenchyma, maker=_maker(content.get("made_by"), path))


def _maker(content: object, path: Path) -> MapMaker | None:
    if content is None:
        return None
    written, subjects = (content.get(key) for key in KEYS) if isinstance(content, dict) else (None, None)
    methods = [written] if isinstance(written, str) else written
    if not (_are_names(methods) and methods and all(methods) and _are_names(subjects)):
        remedy = 'write {"method": "kmeans", "training_subjects": []}, or leave made_by out'
        raise CohortError(path, "made_by does not name a method and its training_subjects", remedy)
    return MapMaker(methods=tuple(sorted(methods)), subjects=tuple(subjects))


def _are_names(content: object) -> TypeGuard[list[str]]:
    return isinstance(content, list) and all(isinstance(name, str) for name in content)


def write_structures(folder: Path, structures: Structures) -> None:
    """Write ``anatomy.json``."""
    content: dict[str, object] = {"structures": dict(structures.names), "parenchyma": list(structures.parenchyma)}
    if structures.maker is not None:
        methods = structures.maker.methods
        values = (methods[0] if len(methods) == 1 else list(methods), list(structures.maker.subjects))
        content["made_by"] = dict(zip(KEYS, values, strict=True))
    write_json(folder / FILE, content)
