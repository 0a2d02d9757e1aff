from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import pytest
import torch

from lesionforge.augmentation.head_ct import RandHeadd
from lesionforge.cohort.case import Annotation
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.errors import CohortError, LesionforgeError, ModelError, OutputError
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.scores.predictions.overlap import dice
from lesionforge.tasks.segmentation import segmentation_task
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_module import SegmentationModule
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.tasks.segmentation.training_cases import make_training_set
from lesionforge.training import fitting
from lesionforge.training.items.samples import training_size
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import read_tensors
from tests.helpers import LESION, NESTED, tiny_cohort

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
OBLIQUE = np.array([[-1.9, 0.3, 0.5, 30.0], [-0.2, -1.95, 0.4, 40.0], [0.55, -0.3, 1.9, -20.0], [0, 0, 0, 1.0]])
LIA = np.array([[-2.0, 0, 0, 30], [0, 0, -2.0, 40], [0, 2.0, 0, -20], [0, 0, 0, 1]]) @ np.diag([1.0, 1, -1, 1])


def config(spatial_dims, **changes):
    options = {
        "spatial_dims": spatial_dims,
        "filters": (8, 16, 32),
        "res_units": 1,
        "roi_size": {2: (64, 64), 3: (24, 24, 16)}[spatial_dims],
        "learning_rate": 1e-2,
        "augment": "none",
    }
    return SegmentationConfig(**options | changes)


def training(steps, **changes):
    return TrainingConfig(
        **{"steps": steps, "batch_size": 4, "epoch_steps": 20, "device": "cpu", "preview_minutes": None} | changes
    )


def fit(cohort, out, spatial_dims, *, steps=2, channels=None, seed=0, **more):
    options = {name: more.pop(name) for name in ("synthetic", "share", "pretrained", "resume") if name in more}
    return SegmentationTask.fit(
        cohort,
        channels=channels or cohort.channels,
        config=config(spatial_dims, **more),
        training=training(steps, seed=seed),
        out=out,
        **options,
    )


def mean_dice(task, cohort, value=None):
    scores = []
    for case in cohort.with_lesions():
        scan = load_scan(case, task.info.preprocessing.channels)
        found = task.predict(scan)
        pair = (found > 0, scan.label > 0) if value is None else (found == value, scan.label == value)
        scores.append(dice(*pair))
    return np.mean(scores)


@pytest.mark.parametrize(
    ("spatial_dims", "of_cohort", "channels", "labels", "steps"),
    [
        (2, 2, ("FLAIR",), LESION, 60),
        pytest.param(2, 3, ("FLAIR", "T1"), NESTED, 250, marks=pytest.mark.slow),
        pytest.param(3, 3, ("FLAIR", "T1"), NESTED, 250, marks=pytest.mark.slow),
    ],
    ids=["slices", "slices of volumes", "volumes"],
)
def test_an_easy_cohort_is_learnt(tmp_path, spatial_dims, of_cohort, channels, labels, steps):
    cohort = tiny_cohort(tmp_path / "train", spatial_dims=of_cohort, n_subjects=5, channels=channels, labels=labels)
    others = tiny_cohort(
        tmp_path / "test", spatial_dims=of_cohort, n_subjects=3, channels=channels, labels=labels, seed=9
    )
    roi_size = (32, 32) if of_cohort == 3 and spatial_dims == 2 else config(spatial_dims).roi_size
    task = fit(cohort, tmp_path / "model", spatial_dims, steps=steps, roi_size=roi_size)
    assert mean_dice(task, others) > 0.7, "trainings differ: 0.75 to 0.87 for volumes"
    if len(labels) > 2:
        assert all(mean_dice(task, others, value) > 0.5 for value in (1, 2))
    loaded = SegmentationTask.load(tmp_path / "model")
    assert loaded.info == task.info
    scan = load_scan(others.cases[0], channels)
    assert np.array_equal(loaded.predict(scan), task.predict(scan))


@pytest.mark.parametrize("spatial_dims", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("affine", [pytest.param(LIA, marks=pytest.mark.slow), OBLIQUE], ids=["LIA", "oblique"])
def test_a_prediction_lies_on_the_grid_of_its_scan(tmp_path, spatial_dims, affine):
    """The lesion is bright: the found voxels must be bright in the file's own grid."""
    shape = (30, 26, 20)
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=3, affine=affine, shape=shape)
    roi_size = (24, 24) if spatial_dims == 2 else (24, 24, 16)
    task = fit(cohort, tmp_path / "model", spatial_dims, steps=200, roi_size=roi_size)
    for case in cohort:
        path = task.predict_case(case, tmp_path / "found")
        label, written = read_label(path)
        scan = load_scan(case, cohort.channels)
        assert label.shape == shape
        assert np.allclose(written, nib.load(case.images["FLAIR"]).affine, atol=1e-5)
        assert dice(label > 0, scan.label > 0) > 0.5


@pytest.mark.parametrize(("spatial_dims", "of_cohort"), [(2, 2), (2, 3), (3, 3)])
def test_the_network_sees_windows_of_the_size_it_was_trained_on(tmp_path, spatial_dims, of_cohort):
    """Instance norm makes something else of a larger or smaller image."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=of_cohort, n_subjects=2, shape=(50, 38, 20)[:of_cohort])
    roi_size = (24, 32, 16)[:spatial_dims]
    task = fit(cohort, tmp_path / "model", spatial_dims, roi_size=roi_size)
    seen = []
    task.network.register_forward_pre_hook(lambda network, inputs: seen.append(tuple(inputs[0].shape[2:])))
    scan = load_scan(cohort.cases[0], cohort.channels)
    assert task.predict(scan).shape == scan.spatial_shape
    assert set(seen) == {roi_size}


def test_a_prediction_of_a_png_is_a_png_of_its_size(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3, shape=(50, 38))
    task = fit(cohort, tmp_path / "model", 2)
    path = task.predict_case(cohort.cases[0], tmp_path / "found")
    assert path.name == "case_000.png"
    assert read_label(path)[0].shape == (50, 38)


def test_a_prediction_that_is_there_is_kept(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    task = fit(cohort, tmp_path / "model", 2)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "case_000.png").write_bytes(b"mine")
    assert task.predict_case(cohort.cases[0], tmp_path / "found").read_bytes() == b"mine"


@BOTH
def test_the_label_of_a_scan_has_no_part_in_its_prediction(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=2)
    task = fit(cohort, tmp_path / "model", spatial_dims)
    scan = load_scan(cohort.cases[0], cohort.channels)
    found = task.predict(scan)
    for label in (None, np.ones_like(scan.label)):
        assert np.array_equal(task.predict(replace(scan, label=label)), found)


def test_the_weights_of_the_last_step_are_the_result(tmp_path, monkeypatch):
    last = {}
    step = SegmentationModule.optimizer_step

    def watched(self, *args, **kwargs):
        step(self, *args, **kwargs)
        last.update({name: tensor.clone() for name, tensor in self.network.state_dict().items()})

    monkeypatch.setattr(SegmentationModule, "optimizer_step", watched)
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    task = fit(cohort, tmp_path / "model", 2, steps=7)
    assert task.info.training["steps"] == 7
    kept = read_tensors(tmp_path / "model")
    assert kept.keys() == last.keys()
    assert all(torch.equal(kept[name], last[name]) for name in last)


@BOTH
def test_the_seed_decides_the_weights(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=spatial_dims, n_subjects=2)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(cohort, tmp_path / name, spatial_dims, seed=seed, augment="classical")
    a, b, c = (read_tensors(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_cases_of_unknown_annotation_are_no_training_truth(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=4, n_healthy=1, n_unknown=1)
    task = fit(cohort, tmp_path / "model", 2)
    assert task.info.training_cases == ("case_000", "case_001", "case_002")
    assert "sub_03" not in task.info.training_subjects
    unknown = cohort.with_cases([case for case in cohort if case.annotation is Annotation.UNKNOWN])
    with pytest.raises(CohortError, match="no annotated case"):
        fit(unknown, tmp_path / "other", 2)


def test_cases_without_a_channel_are_left_out(tmp_path):
    cohort = tiny_cohort(
        tmp_path / "c", spatial_dims=2, n_subjects=3, channels=("FLAIR", "T1"), missing={"case_001": ["T1"]}
    )
    task = fit(cohort, tmp_path / "both", 2)
    assert task.info.training_cases == ("case_000", "case_002")
    with pytest.raises(CohortError, match=r"case_001.*channel T1 is missing"):
        task.predict_case(cohort["case_001"], tmp_path / "found")
    assert len(fit(cohort, tmp_path / "one", 2, channels=("FLAIR",)).info.training_cases) == 3
    with pytest.raises(CohortError, match="no channel 'T2'"):
        fit(cohort, tmp_path / "none", 2, channels=("T2",))


def synthetic_of(cohort, cases):
    drawn = [
        replace(
            case,
            case_id=f"{case.case_id}_s0",
            origin="synthetic",
            source_case=case.case_id,
            parents=(case.subject_id, "sub_mask"),
        )
        for case in cases
    ]
    return cohort.with_cases(drawn)


@pytest.fixture
def handed_over(monkeypatch):
    """The networks and items that are handed over to training, which is left out."""
    seen = []
    monkeypatch.setattr(fitting, "fit", lambda module, items, **_: seen.append((module, items)) or 0)
    return seen


def test_sources_have_their_shares_and_lesions_are_equally_frequent_in_them(tmp_path, handed_over):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3)
    fit(cohort, tmp_path / "real", 2, lesion_share=0.2)
    fit(cohort, tmp_path / "mixed", 2, lesion_share=0.2, synthetic=synthetic_of(cohort, cohort.cases[:1]), share=0.3)
    (_, real), (_, mixed) = handed_over
    assert [(source.share, source.lesion_share) for source in real.sources] == [(1, 0.2)]
    assert [(source.share, source.lesion_share) for source in mixed.sources] == [(0.7, 0.2), (0.3, 0.2)]
    assert [len(source.samples) for source in mixed.sources] == [3, 1]


def test_options_reach_what_is_trained(tmp_path, handed_over):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=1)
    fit(cohort, tmp_path / "a", 2, learning_rate=0.02)
    fit(cohort, tmp_path / "b", 2, learning_rate=0.02, augment="classical", seed=1)
    fit(cohort, tmp_path / "ct", 2, augment="ct")
    (module, items), (other, augmented), (_, moved) = handed_over
    assert module.learning_rate == 0.02
    assert items.augment is None
    assert augmented.augment is not None
    assert any(isinstance(transform, RandHeadd) for transform in moved.augment.flatten().transforms)
    weights = zip(module.network.parameters(), other.network.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in weights), "another seed begins with other weights"


@BOTH
@pytest.mark.parametrize("output", [(-1.0, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("normalise", ["tissue", "none"])
def test_beyond_a_scan_the_network_sees_air(normalise, output, tmp_path, spatial_dims, handed_over):
    """In training crops as in prediction."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=1, shape=(20, 18, 14)[:spatial_dims])
    preprocessing = Preprocessing(spatial_dims=spatial_dims, channels=cohort.channels, output=output)
    task = SegmentationTask.fit(
        cohort,
        channels=cohort.channels,
        config=config(spatial_dims, roi_size=(24,) * spatial_dims, normalise=normalise),
        training=training(1),
        out=tmp_path / "model",
        preprocessing=preprocessing,
    )
    assert task.info.preprocessing == preprocessing
    seen = []
    task.network.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[0][0]))
    scan = load_scan(cohort.cases[0], cohort.channels)
    task.predict(scan)
    for image in (handed_over[0][1][0]["image"], seen[0]):
        assert image.shape[1:] == (24,) * spatial_dims
        air = int((image == image.min()).sum())
        assert air == 24**spatial_dims - np.count_nonzero(scan.image)
        assert image.max() > image.min() + 0.5


@pytest.mark.parametrize("of_samples", [2, 3])
def test_slices_are_taken_whole_unless_a_size_is_given(of_samples):
    shapes = [(50, 38, 9)[:of_samples], (44, 41, 7)[:of_samples]]
    samples = [Sample(np.zeros((1, *shape))) for shape in shapes]
    assert training_size(None, samples, config(2, roi_size=None)) == (52, 44)


@dataclass
class Sample:
    image: np.ndarray


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_synthetic_cases_and_their_parents_are_told(tmp_path, share):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3)
    synthetic = synthetic_of(cohort, cohort.cases[:1])
    task = fit(cohort, tmp_path / "model", 2, synthetic=synthetic, share=share)
    assert "case_000_s0" in task.info.training_cases
    assert set(task.info.training_subjects) == {"sub_00", "sub_01", "sub_02", "sub_mask"}


def test_synthetic_only_never_touches_real_samples(tmp_path):
    """With the real labels turned to nonsense, training on synthetic cases alone gives the same weights."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3)
    synthetic = synthetic_of(cohort, tiny_cohort(tmp_path / "other", spatial_dims=2, n_subjects=2, seed=3).cases)
    nonsense = cohort.with_cases([replace(case, label=cohort.cases[0].label) for case in cohort])
    fit(cohort, tmp_path / "a", 2, synthetic=synthetic, share=1.0)
    fit(nonsense, tmp_path / "b", 2, synthetic=synthetic, share=1.0)
    fit(nonsense, tmp_path / "c2", 2, synthetic=synthetic, share=0.5)
    a, b, c = (read_tensors(tmp_path / name) for name in ("a", "b", "c2"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_of_synthetic_cases_it_is_known_which_lesions_were_there_before(tmp_path, monkeypatch):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=3)
    elsewhere = tiny_cohort(tmp_path / "healthy", spatial_dims=3, n_subjects=1, seed=5)
    synthetic = synthetic_of(cohort, cohort.cases[1:])
    other = replace(elsewhere.cases[0], case_id="other_s0", origin="synthetic", source_case="other", parents=("p",))
    synthetic = synthetic.with_cases((*synthetic, other))
    made = []

    def remember(sources, *args, **options):
        made.extend(sources)
        return make_training_set(sources, *args, **options)

    monkeypatch.setattr(segmentation_task, "make_training_set", remember)
    fit(cohort, tmp_path / "model", 2, synthetic=synthetic, roi_size=(32, 32))
    real, drawn = made
    assert real.known is None
    assert drawn.known[2] is None
    for known, sample in zip(drawn.known, real.samples[1:], strict=False):
        assert np.array_equal(known, sample.label)


def test_synthetic_cases_of_other_classes_are_refused(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    nested = tiny_cohort(tmp_path / "n", spatial_dims=2, n_subjects=2, labels=NESTED)
    with pytest.raises(CohortError, match="has other lesion classes than"):
        fit(cohort, tmp_path / "model", 2, synthetic=synthetic_of(nested, nested.cases))


@pytest.mark.parametrize(
    ("spatial_dims", "filters", "roi_size"),
    [(2, (4, 8, 16), (30, 32)), (3, (4, 8), (32, 32)), (2, (4, 8), (32, 32, 32)), (2, (4, 8), (0, 8))],
)
def test_sizes_that_the_network_cannot_take_are_refused(spatial_dims, filters, roi_size):
    with pytest.raises(ValueError, match="roi_size is"):
        SegmentationConfig(spatial_dims=spatial_dims, filters=filters, roi_size=roi_size)


def test_other_folders_are_no_segmentation_model(tmp_path):
    from lesionforge.synthesizers.training_free.carvemix import CarveMix

    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    with pytest.raises(ModelError, match=r"no model\.json"):
        SegmentationTask.load(tmp_path)
    CarveMix.fit(cohort, channels=cohort.channels, config={}, training=training(1), out=tmp_path / "carvemix")
    with pytest.raises(ModelError, match="is a model of carvemix"):
        SegmentationTask.load(tmp_path / "carvemix")


def test_a_volume_model_refuses_slices(tmp_path):
    volumes = tiny_cohort(tmp_path / "v", spatial_dims=3, n_subjects=2)
    slices = tiny_cohort(tmp_path / "s", spatial_dims=2, n_subjects=2)
    task = fit(volumes, tmp_path / "model", 3)
    with pytest.raises(CohortError, match="case_000: is a slice, but the model takes volumes"):
        task.predict_case(slices.cases[0], tmp_path / "found")
    with pytest.raises(LesionforgeError, match="slice"):
        fit(slices, tmp_path / "other", 3)


def test_a_finished_run_is_not_overwritten(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    fit(cohort, tmp_path / "model", 2)
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="`resume`"):
        fit(cohort, tmp_path / "model", 2, seed=5)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
