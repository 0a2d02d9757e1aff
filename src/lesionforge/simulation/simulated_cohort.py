"""The built-in cohort: simulated heads with simulated lesions, for demos, tests and method development.

It contains no patients. ``head`` makes the heads, ``lesion_shapes`` the shapes of the lesions, ``scanner`` the images,
and ``simulated_subject`` combines them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.image_file import write_stored
from lesionforge.cohort.layouts.cases_csv import write_cases_csv
from lesionforge.cohort.layouts.dataset_json import cohort_name, write_dataset_json
from lesionforge.cohort.layouts.nnunet import case_files
from lesionforge.cohort.layouts.subjects import subject_of
from lesionforge.cohort.structures import FREESURFER_STRUCTURES, Structures, write_structures
from lesionforge.files import claim_output, one_at_a_time, write_json, write_text
from lesionforge.reading import read_json
from lesionforge.simulation.given_maps import label_files
from lesionforge.simulation.head import ANATOMY_LABELS, template_head
from lesionforge.simulation.lesion_shapes import LesionKind
from lesionforge.simulation.scanner import Contrast
from lesionforge.simulation.simulated_subject import Simulated, Simulation, simulate_subject

README = """\
This cohort is simulated. {heads}
No result on it says anything about patients.

dataset.json, imagesTr, labelsTr, cases.csv: the nnU-Net raw layout. simulation.json: the settings it was made with.
anatomyTr: the simulated tissue that fills most of each voxel, before the lesion: {anatomy}.
"""


FINDINGS = """\
provenance: where the bleeds lie, and what looks like one: points along veins, calcifications, and places where air
or bone takes signal away. Positions are in the space of the case's files: mm, or rows and columns of a slice.
"""


HEADS = """\
Its heads are random deformations of the MNI152 average brain, and its lesions are drawn.
No file in it comes from a patient."""
HEADS_OF_MAPS = """\
Its heads are random deformations of label maps that were given, with simulated intensities. Its lesions are drawn, or
lie where given masks say. It reveals as much about people as these maps and masks do."""


@one_at_a_time
def make_template_cohort(
    out: Path,
    *,
    n_subjects: int = 40,
    spatial_dims: int = 3,
    contrast: Contrast | Sequence[Contrast] = "FLAIR",
    lesion: LesionKind = "tumour",
    healthy_fraction: float = 0.5,
    spacing: float = 3.0,
    slice_thickness: float | None = 6.0,
    skull: bool = True,
    seed: int = 0,
    maps: Path | None = None,
    masks: Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Cohort:
    """Simulate a cohort and write it as an nnU-Net raw dataset with ``cases.csv`` and ``anatomyTr``.

    The same settings and seed give the same bytes, whatever the number of workers. Without ``masks``, subject ``i``
    does not depend on ``n_subjects``. If the folder holds an unfinished cohort with the same settings, it is completed.

    Args:
        out: folder to write; new, empty, or unfinished with the same settings.
        n_subjects: number of subjects, with one case each.
        spatial_dims: 3 writes volumes (``.nii.gz``); 2 writes one axial slice per subject (8-bit ``.png``): the slice
            with the largest lesion area, or a random slice of a healthy brain.
        contrast: one or several channels of the same anatomy and lesion: ``FLAIR``, ``DWI``, ``T1``, ``SWI``.
        lesion: ``tumour`` (classes oedema ⊃ core ⊃ enhancing), ``stroke``, ``white_matter``, or, with the contrast
            ``SWI`` alone, ``microbleed``.
        healthy_fraction: fraction of lesion-free subjects, 0 to 1.
        spacing: in-plane voxel spacing in millimetres, 0.9 to 6.
        slice_thickness: thickness and spacing of the slices in millimetres, from ``spacing`` to 10; ``None`` for
            ``spacing``.
        skull: whether skull, scalp and face are visible; otherwise they are black, as after skull stripping.
        seed: seed of all randomness.
        maps: folder of label maps with FreeSurfer's labels. Heads are then made from these maps in turn instead of the
            MNI152 template, and ``anatomyTr`` holds their 27 structures. All cases of one map have the same subject.
        masks: folder of stroke masks in MNI space, for use with ``maps`` and ``lesion="stroke"``. Each mask is used at
            most once, within the brain, and must have 20 voxels or more there. A lesion is drawn if no mask fits.
        workers: number of threads that simulate subjects.
        progress: called after each subject with (subjects done, subjects in total).

    Returns:
        The cohort as written; every case has origin ``"simulated"``.

    Raises:
        ConfigError: if a setting is out of range.
        OutputError: if ``out`` holds anything else.
    """
    simulation = Simulation(
        n_subjects=n_subjects,
        spatial_dims=spatial_dims,
        contrasts=(contrast,) if isinstance(contrast, str) else tuple(contrast),
        lesion=lesion,
        healthy_fraction=healthy_fraction,
        spacing=spacing,
        slice_thickness=spacing if slice_thickness is None else slice_thickness,
        skull=skull,
        seed=seed,
        maps=() if maps is None else label_files(maps),
        masks=() if masks is None else label_files(masks),
    )
    _begin(out, simulation)
    if not simulation.maps:
        template_head(simulation.template_resolution)
    cases = []
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        for case in pool.map(lambda number: _write_subject(out, simulation, number), range(n_subjects)):
            cases.append(case)
            if progress is not None:
                progress(len(cases), n_subjects)
    write_cases_csv(out, cases, channels=simulation.contrasts)
    write_dataset_json(
        out,
        channels=simulation.contrasts,
        labels=simulation.labels,
        num_training=len(cases),
        file_ending=simulation.file_ending,
        name=simulation.name,
    )
    return Cohort(name=cohort_name(out), channels=simulation.contrasts, labels=simulation.labels, cases=tuple(cases))


def _begin(out: Path, simulation: Simulation) -> None:
    """Claim the output folder, or continue in one that was begun with the same settings."""
    settings = out / "simulation.json"
    content = {"simulated": True, **json.loads(json.dumps(asdict(simulation)))}
    if not settings.is_file() or read_json(settings) != content:
        claim_output(out)
        write_json(settings, content)
    names = FREESURFER_STRUCTURES.names if simulation.maps else ANATOMY_LABELS
    anatomy = ", ".join(f"{value} {name}" for name, value in names.items())
    heads = HEADS_OF_MAPS if simulation.maps else HEADS
    findings = FINDINGS if simulation.lesion == "microbleed" else ""
    write_text(out / "README.txt", README.format(anatomy=anatomy, heads=heads) + findings)
    write_structures(out, _structures(simulation))


def _structures(simulation: Simulation) -> Structures:
    """Return the meaning of the anatomy maps."""
    if simulation.maps:
        return FREESURFER_STRUCTURES
    return Structures.named({name: value for name, value in ANATOMY_LABELS.items() if value})


def _write_subject(out: Path, simulation: Simulation, number: int) -> Case:
    """Simulate and write a subject unless all its files exist, and return its case."""
    case_id = f"simulated_{number:03d}"
    images, label = case_files(out, case_id, len(simulation.contrasts), simulation.file_ending)
    anatomy, record = out / "anatomyTr" / label.name, out / "provenance" / f"{case_id}.json"
    if not all(path.is_file() for path in (*images, label, anatomy)):
        subject = simulate_subject(simulation, number)
        for path, channel in zip(images, subject.image, strict=True):
            _write_image(path, channel, subject)
        if subject.mask_id:
            write_json(record, {"case_id": case_id, "mask_id": subject.mask_id})
        if subject.findings:
            places = {kind: np.round(found.astype(float), 1).tolist() for kind, found in subject.findings.items()}
            write_json(record, {"case_id": case_id, "simulated": True, "findings": places})
        _write_array(label, subject.label.astype(np.uint8), subject)
        _write_array(anatomy, subject.anatomy.astype(np.uint8), subject)
    source = simulation.map_of(number)
    mask_id = read_json(record).get("mask_id", "") if record.is_file() else ""
    return Case(
        case_id=case_id,
        subject_id=case_id if source is None else Path(source).name.split(".")[0],
        images=dict(zip(simulation.contrasts, images, strict=True)),
        annotation=Annotation.LESION_FREE if simulation.is_healthy(number) else Annotation.LESION,
        label=label,
        anatomy=anatomy,
        parenchyma=_structures(simulation).parenchyma,
        fluid=_structures(simulation).fluid,
        origin="simulated",
        mask_id=mask_id,
        parents=(subject_of(mask_id),) if mask_id else (),
        synthesizer="simulated",
        seed=simulation.seed,
    )


def _write_image(path: Path, channel: NDArray[np.float32], subject: Simulated) -> None:
    """Write a channel: NIfTI as int16; PNG scaled to the 99.9th percentile in 8 bits."""
    if path.suffix == ".png":
        channel = np.clip(channel * (255 / np.percentile(channel, 99.9)), 0, 255)
    _write_array(path, np.rint(channel).astype(np.uint8 if path.suffix == ".png" else np.int16), subject)


def _write_array(path: Path, array: NDArray[Any], subject: Simulated) -> None:
    write_stored(path, array, subject.affine, simulated=True)
