from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import lesionforge
from lesionforge.benchmark.arms.mask_sources import mask_source
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.kinds import study_plan
from lesionforge.benchmark.plan import Plan, read_plan
from lesionforge.benchmark.plan_file import merged
from lesionforge.cli.common import nested
from lesionforge.config import parse_options
from lesionforge.errors import ConfigError
from lesionforge.healers.healing_config import HealingConfig
from lesionforge.healers.mask_cyclegan import MaskCycleGANConfig
from lesionforge.masks.generator.maskgan_training import MaskGANConfig
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.tasks.segmentation.pix2pix_segmentation import Pix2PixSegmentation
from tests.helpers import tiny_cohort

PRESETS = Path(lesionforge.__file__).parent / "presets"
SOUND = {
    "arms": {"real": {"augment": "none"}, "mixed": {"synthesizer": "mix", "use": "on_the_fly"}},
    "synthesizers": {"mix": {"method": "carvemix"}},
    "baseline": "real",
    "arm": "mixed",
}

NNUNET = {"method": "nnunet"}


def write(tmp_path, content):
    path = tmp_path / "plan.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def scales():
    for preset in sorted(PRESETS.glob("*.yaml")):
        for scale in (None, *(yaml.safe_load(preset.read_text()).get("scales") or {})):
            yield pytest.param(preset, scale, id=f"{preset.stem}-{scale}")


@pytest.mark.parametrize(("preset", "scale"), scales())
def test_presets_are_sound_at_every_scale(preset, scale):
    plan = study_plan(preset, scale=scale)
    if isinstance(plan, HealingPlan):
        assert set(plan.baselines) < set(plan.methods)
        return
    assert plan.baseline in plan.arms
    assert {arm.synthesizer for arm in plan.arms.values()} - {None} == set(plan.synthesizers)


def test_the_microbleed_preset_is_the_papers_experiment():
    """Faryna et al. 2021: 46 + 14 subjects to train on, 11 + 4 to choose on, 10 to test on; six arms, 1:1."""
    plan = read_plan(PRESETS / "microbleeds.yaml", scale="paper")
    parts = [getattr(plan.subjects, name) for name in ("train", "development", "test")]
    assert [(part.lesion, part.lesion_free) for part in parts] == [(46, 14), (11, 4), (10, 0)]
    assert (plan.subjects.numbers, len(plan.seeds), plan.intensity) == ((1.0,), 3, "percentile")
    of_paper = [arm for arm in plan.arms.values() if arm.synthesizer in (None, "cycle")]
    shares = [(arm.augment, arm.given_share if arm.synthesizer else 0) for arm in of_paper]
    assert sorted(shares) == [(augment, share) for augment in ("classical", "none") for share in (0, 0.5, 1)]
    cycle = plan.synthesizers["cycle"]
    options = parse_options(MaskCycleGANConfig, cycle.options)
    assert (cycle.masks, cycle.lesion_free, cycle.training.batch_size) == ("semi_random", True, 4)
    assert (options.roi_size, options.width, options.max_diameter_mm) == ((160, 146, 32), 1.0, 10)
    assert (options.optimiser.n_critic, options.lambda_cycle, options.adversarial) == (5, 10, "wgan")


@pytest.mark.parametrize("scale", ["paper", "gan"])
def test_the_tumour_preset_is_the_papers_experiment(scale):
    """Shin et al. 2018: real, as many edited ones added, edited ones alone, 1 and 5 times, then a tenth of the real."""
    plan = read_plan(PRESETS / "tumour.yaml", scale=scale)
    for augmented in (False, True):
        arms = [arm for arm in plan.arms.values() if (arm.augment != "none") == augmented]
        times = {name: made.per_case for name, made in plan.synthesizers.items() if name != "same"} | {None: 0}
        amounts = {
            (times[arm.synthesizer], arm.union, arm.real, bool(arm.finetune))
            for arm in arms
            if arm.synthesizer in times
        }
        paper = {(0, False, None, False), (1, True, None, False), (1, False, None, False), (5, False, None, False)}
        assert paper | {(5, False, 0.1, True)} == amounts - {(0, False, 0.1, False)}
    options = parse_options(Pix2PixConfig, plan.synthesizers["edited_5"].options)
    assert (options.roi_size, options.lambda_l1, options.adversarial) == ((128, 128, 54), 100, "log")
    assert (options.optimiser.learning_rate, options.optimiser.beta1) == (2e-4, 0.5)
    assert (options.augment, options.mirror) == (False, True)
    assert {"classical", "elastic"} <= set(plan.tune.augment)
    assert (plan.task_class is Pix2PixSegmentation) == (scale == "gan")


def test_a_plan_survives_being_written(tmp_path):
    plan = read_plan(PRESETS / "first.yaml", scale="paper")
    assert read_plan(write(tmp_path, plan.model_dump(mode="json"))) == plan


def test_a_scale_changes_what_it_names_and_nothing_else(tmp_path):
    content = {
        **SOUND,
        "training": {"steps": 100, "batch_size": 4},
        "scales": {"paper": {"training": {"steps": 5000}, "seeds": [7]}, "empty": None},
    }
    path = write(tmp_path, content)
    plain, paper = read_plan(path), read_plan(path, scale="paper")
    assert (paper.training.steps, paper.seeds) == (5000, (7,))
    changed = {"training": paper.training, "seeds": (7,)}
    assert plain.model_copy(update=changed) == paper
    assert plain.training.model_copy(update={"steps": 5000}) == paper.training
    assert read_plan(path, scale="empty") == plain


def test_merging_goes_through_dictionaries_alone():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert merged(base, {"a": {"c": [3]}, "d": {"e": 2}}) == {"a": {"b": 1, "c": [3]}, "d": {"e": 2}}
    assert merged(base, {"a": {"b": None}, "e": None}) == {"a": {"c": [1, 2]}, "d": 1}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


def test_changes_come_last_and_null_takes_away(tmp_path):
    path = write(tmp_path, {**SOUND, "scales": {"cpu": {"arms": {"mixed": None}, "arm": None, "seeds": [7]}}})
    plan = read_plan(path, scale="cpu", changes={"seeds": [8, 9], "arms": {"few": {"real": 2}}})
    assert (tuple(plan.arms), plan.arm, plan.seeds) == (("real", "few"), None, (8, 9))


def test_an_arm_can_have_a_network_of_its_own(tmp_path):
    few = {"augment": "none", "task": {"min_lesion_voxels": 20, "filters": [4, 8]}}
    plan = read_plan(write(tmp_path, {**SOUND, "task": {"dropout": 0.1}, "arms": {**SOUND["arms"], "few": few}}))
    of_arm = plan.task_of("few")
    assert (of_arm.min_lesion_voxels, of_arm.filters, of_arm.dropout, of_arm.augment) == (20, (4, 8), 0.1, "none")
    assert plan.task_of("mixed") == plan.task


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"armes": {}}, "armes: is no option; the options are name, channels"),
        (
            {"task": {"filter": [8]}},
            "task: filter: is no option; the options are intensity, spatial_dims",
        ),
        ({"training": {"step": 8}}, "training.step: is no option; the options are steps"),
        ({"arms": {"real": {"augmentation": "none"}}}, "arms.real.augmentation: is no option; the options are augment"),
        ({"synthesizers": {"mix": {"methods": "x"}}}, "synthesizers.mix.method: is missing; the options are method"),
        ({"synthesizers": {"mix": {"method": "stylegan"}}}, "'stylegan' is not a synthesizer: choose from pix2pix"),
        (
            {"synthesizers": {"mix": {"method": "pix2pix", "options": {"lamda": 1}}}},
            "synthesizers.mix: options: lamda: is no option",
        ),
        ({"synthesizers": {}}, "arm 'mixed' names the synthesizer 'mix', which is not in the plan"),
        ({"arms": {"real": {"task": {"filter": [8]}}}, "arm": None}, "arm 'real': task: filter: is no option"),
        ({"budget": "paper"}, "the budget of the paper is fixed: give a batch size, and leave out control and tune"),
        ({"tune": {"number": 3}}, "tune.number is 3, which is not in subjects.numbers"),
        ({"tune": {}, "training": {}}, "tune tries multiples of training.batch_size: give it"),
        ({"tune": {"augmentations": ["none"]}}, "tune.augmentations: is no option; the options are augment"),
        ({"baseline": "reel"}, "'reel' is not an arm: the arms are mixed, real"),
        ({"arm": "best"}, "'best' is not an arm"),
        ({"control": {"arm": "none"}}, "'none' is not an arm"),
        ({"against": ["best"]}, "'best' is not an arm"),
        ({"against": ["mixed"]}, "against (mixed): set arm, and name others than it and the baseline, each once"),
        ({"against": ["real"]}, "against (real): set arm, and name others"),
        ({"against": ["mixed"], "arm": None}, "against (mixed): set arm, and name others"),
        ({"primary": "dise"}, "the primary score 'dise' is unknown"),
        ({"arms": {"real": {}, "a/b": {}}, "arm": None}, "'a/b' cannot be a name"),
        ({"arms": {"real": {"share": 0}}, "arm": None}, "arms.real.share: input should be greater than 0"),
        ({"arms": {"real": {"share": 1.5}}, "arm": None}, "arms.real.share: input should be less than or equal to 1"),
        ({"arms": {"real": {"share": 0.5}}, "arm": None}, "arms.real: share has no effect without a synthesizer"),
        (
            {"arms": {"real": {}, "mixed": {"synthesizer": "mix", "share": 0.5, "finetune": 0.5}}},
            "arms.mixed: share has no effect beside finetune",
        ),
        ({"synthesizers": {"mix": {"method": "carvemix", "cases": 0}}}, "synthesizers.mix.cases: "),
        ({"synthesizers": {"mix": {"method": "carvemix"}, "a/b": {"method": "carvemix"}}}, "'a/b' cannot be a name"),
        (
            {
                "synthesizers": {"mix": {"method": "transformed_copy"}},
                "arms": {"real": {}, "mixed": {"synthesizer": "mix", "use": "on_the_fly"}},
            },
            "arm 'mixed' copies on the fly: use offline, or augment: ct",
        ),
        ({"task": NNUNET}, "arm 'mixed' draws on the fly, which nnunet cannot: use offline"),
        (
            {"task": NNUNET, "arms": {"real": {}, "mixed": {"synthesizer": "mix", "finetune": 0.5}}},
            "arm 'mixed' trains on synthetic cases first, which nnunet cannot continue from: leave finetune out",
        ),
        ({"seeds": [0, 1, 0]}, "seeds are (0, 1, 0): name each only once"),
        ({"subjects": {"numbers": [4, 8, 4]}}, "subjects.numbers are (4, 8, 4): name each only once"),
        ({"subjects": {"numbers": [1, 0.5]}}, "subjects.numbers mixes shares and numbers"),
        ({"seeds": []}, "seeds: "),
        ({"subjects": {"numbers": []}}, "subjects.numbers: "),
        ({"task": {"roi_size": [20, 20]}}, "task: roi_size is (20, 20)"),
        ({"baseline": None}, "baseline: "),
    ],
)
def test_a_mistake_is_told_with_file_place_and_remedy(tmp_path, changes, what):
    path = write(tmp_path, {**SOUND, **changes})
    with pytest.raises(ConfigError) as caught:
        read_plan(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert what in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("arms: [", "is not YAML"),
        ("just words", "is not a plan"),
        ("", "is not a plan"),
        (yaml.safe_dump({"baseline": "real"}), "arms: is missing"),
    ],
)
def test_a_file_that_is_no_plan_is_named(tmp_path, content, what):
    path = write(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(str(path))
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_plan_and_a_missing_scale_are_named(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"nowhere\.yaml: there is no such plan; .*demo, first, microbleeds, pseudo_healthy, stroke, tumour",
    ):
        read_plan(tmp_path / "nowhere.yaml")
    path = write(tmp_path, {**SOUND, "scales": {"cpu": {}}})
    with pytest.raises(ConfigError, match=r"plan\.yaml: has no scale 'gpu'; its scales are: cpu"):
        read_plan(path, scale="gpu")
    with pytest.raises(ConfigError, match="its scales are: none"):
        read_plan(write(tmp_path, SOUND), scale="gpu")


def test_a_wrong_change_in_a_scale_is_told(tmp_path):
    path = write(tmp_path, {**SOUND, "scales": {"paper": {"training": {"step": 1}}}})
    read_plan(path)
    with pytest.raises(ConfigError, match=r"training\.step: is no option"):
        read_plan(path, scale="paper")


def test_a_plan_cannot_be_changed():
    plan = Plan.model_validate(SOUND)
    with pytest.raises(ValueError, match="frozen"):
        plan.baseline = "mixed"


@pytest.mark.parametrize(("scale", "n_critic", "rate"), [(None, 1, 3e-4), ("cpu", 1, 3e-4), ("paper", 5, 1e-4)])
def test_the_mask_generator_of_the_stroke_preset_keeps_the_rest_of_its_optimiser(scale, n_critic, rate):
    plan = read_plan(PRESETS / "stroke.yaml", scale=scale)
    optimiser = parse_options(MaskGANConfig, plan.mask_generators["strokes"].options).optimiser
    assert (optimiser.n_critic, optimiser.learning_rate) == (n_critic, rate)
    assert (optimiser.beta1, optimiser.beta2, optimiser.pool_size) == (0, 0.9, 0)
    path = "mask_generators.strokes.options.optimiser.n_critic=3"
    changed = read_plan(PRESETS / "stroke.yaml", scale=scale, changes=nested([path]))
    kept = parse_options(MaskGANConfig, changed.mask_generators["strokes"].options).optimiser
    assert kept == optimiser.model_copy(update={"n_critic": 3})


def test_options_of_one_method_are_laid_over_those_of_all():
    methods = {"own": {"method": "healing_gan", "options": {"optimiser": {"n_critic": 2}}}}
    plan = HealingPlan(methods=methods, options={"optimiser": {"learning_rate": 5e-4}, "width": 0.5})
    optimiser = parse_options(HealingConfig, plan.options_of("own")).optimiser
    assert (optimiser.learning_rate, optimiser.n_critic, optimiser.pool_size) == (5e-4, 2, 50)


def test_the_network_that_looks_for_lesions_stays_that_of_the_study():
    methods = {"a": {"method": "healing_gan"}}
    plan = HealingPlan(methods=methods, f_pre={"task": {"filters": [4, 8]}, "training": {"steps": 3}})
    assert (plan.f_pre.task.network, plan.f_pre.task.filters) == ("pseudo_healthy", (4, 8))


def drawing(**options):
    """A plan with an arm of pix2pix cases."""
    use = options.pop("use", "offline")
    mix = {"method": "pix2pix", "options": {"condition": "label"}, "blend": "full", **options}
    arms = {"real": {}, "drawn": {"synthesizer": "mix", "use": use}}
    return {"arms": arms, "synthesizers": {"mix": mix}, "baseline": "real"}


def test_a_synthesizer_of_a_plan_can_name_one_edit_of_its_masks(tmp_path):
    cohort = tiny_cohort(tmp_path / "in", spatial_dims=2)
    plan = read_plan(write(tmp_path, drawing(mask_options={"edit": "shift", "distance_mm": [5, 9]})))
    repeat = SimpleNamespace(plan=plan, train=cohort)
    masks = mask_source(repeat, plan.synthesizers["mix"])
    assert (masks.config.edit, masks.config.distance_mm) == ("shift", (5, 9))
    assert plan.synthesizers["mix"].of_own_lesion
    plan = read_plan(write(tmp_path, drawing(mask_options={"edit": "transplant"}, lesion_free=True)))
    assert not plan.synthesizers["mix"].of_own_lesion


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"mask_options": {"edit": "blur"}}, "enlarge"),
        ({"mask_options": {"scale": 2}}, "is no option"),
        ({"mask_options": {"edit": "shift"}, "masks": "bank"}, "is no option"),
        ({"mask_options": {"edit": "shift"}, "blend": "lesion"}, "use blend: full"),
        ({"mask_options": {"edit": "shift"}, "lesion_free": True}, "no lesion of their own"),
        ({"mask_options": {"edit": "transplant"}}, "lesion-free brains"),
        ({"mask_options": {"edit": "shift"}, "use": "on_the_fly"}, "use offline"),
        ({"mask_options": {"edit": "transplant"}, "lesion_free": True, "use": "on_the_fly"}, "use offline"),
    ],
)
def test_an_edit_that_does_not_fit_the_plan_is_refused(tmp_path, options, what):
    with pytest.raises(ConfigError, match=what):
        read_plan(write(tmp_path, drawing(**options)))
