"""The arms of a plan, and the synthesizers and mask generators that they use."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lesionforge.audit.audit_config import AuditConfig
from lesionforge.config import Options, parse_options
from lesionforge.errors import ConfigError
from lesionforge.masks.editing.edit_config import takes_own_lesion
from lesionforge.masks.generator.maskgan_training import MaskGANConfig
from lesionforge.masks.registry import MASK_SOURCES, source_name
from lesionforge.production.blend import Blend
from lesionforge.production.displacement import check_displacement
from lesionforge.production.select import SelectionConfig
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.training.items.deal import Fade
from lesionforge.training.loop import TrainingConfig

SYNTHETIC_SHARE = 0.5
"""Share of every batch that is synthetic, unless an arm sets its own."""


class Part(Options):
    """Base class of the parts of a plan."""


class MaskGeneratorPlan(Part):
    """A generator of lesion masks that is trained separately for each seed.

    Attributes:
        masks: folder of label maps in MNI space to train on, from which masks of held-out subjects are left out; by
            default the lesions of the training subjects.
        options: options of the generator.
        training: training length and batch size; the seed is that of the run.
    """

    masks: Path | None = None
    options: dict[str, Any] = Field(default={})
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            parse_options(MaskGANConfig, self.options)
        except ConfigError as error:
            raise ValueError(f"options: {error}") from error
        return self


class SynthesizerPlan(Part):
    """A synthesizer that is fitted separately for each seed, on the training subjects.

    Attributes:
        method: name of the method, a key of ``SYNTHESIZERS``.
        options: options of the method.
        training: training length and batch size; the seed is that of the run.
        masks: mask source: ``bank``, ``edited``, ``interpolated``, ``semi_random`` or ``ellipsoids``, built from the
            training subjects; ``own``, which redraws each scan's own lesion (offline use only); or ``gan:NAME``, one of
            the plan's mask generators, for volumes.
        mask_options: options of the mask source, such as ``{flatten_sizes: 0.5}``, or ``{edit: shift}`` for one named
            edit of ``edited`` (offline use only).
        own_share: share of the drawings, 0 to 1, that redraw the scan's own lesion in its place; the others have masks
            of ``masks``, and so have all negatives. Then all are drawn into scans with a lesion, offline; 0 does so as
            a control. By default none is redrawn, and all scans are drawn into.
        blend: ``lesion`` or ``full``.
        cases: number of synthetic cases to write for offline use; ``None`` draws one into each scan (with ``own``
            masks, into each scan that has a lesion).
        per_case: number of synthetic cases for each training case, in place of ``cases``.
        targets: folder of a cohort; its lesion-free scans, instead of the training cases, receive the offline lesions.
            They are first matched to the training cases, see
            :func:`~lesionforge.production.match.match_cohort`.
        lesion_free: draw only into the lesion-free scans among the training cases.
        negatives: share of the drawings, offline or on the fly, in which healthy tissue, or a mimic, is drawn in the
            place of the lesion, and the label stays as it was; the method needs ``healthy_holes`` or ``mimics``.
        displacement: greatest distance in mm, 0 to 3, by which the tissue around a drawing is pushed away from it, as a
            simple mass effect, offline or on the fly; it fades within 5 to 15 mm, and lesions stay as they are.
        min_volume: least volume of a drawn mask, in mm³ (mm² in 2D); ``None`` = half that of the smallest lesion that
            the masks come from.
        selection: options for selecting one of the generators saved during training (the method's ``candidates``),
            using only training subjects; ``None`` takes the last one.
        audit: options of an audit of the offline cases of the largest training set and first seed, with the development
            and test subjects as control, such as ``{}``; ``None`` for no audit.
    """

    method: str
    options: dict[str, Any] = Field(default={})
    training: TrainingConfig = TrainingConfig()
    masks: str = "edited"
    mask_options: dict[str, Any] = Field(default={})
    own_share: float | None = Field(default=None, ge=0, lt=1)
    blend: Blend = "lesion"
    cases: int | None = Field(default=100, ge=1)
    per_case: int | None = Field(default=None, ge=1)
    targets: Path | None = None
    lesion_free: bool = False
    negatives: float = Field(default=0.0, ge=0, le=1)
    displacement: float = 0.0
    min_volume: float | None = None
    selection: SelectionConfig | None = None
    audit: AuditConfig | None = None

    @property
    def mask_generator(self) -> str | None:
        """Name of the plan's mask generator that provides the masks, or ``None``."""
        return self.masks.removeprefix("gan:") if self.masks.startswith("gan:") else None

    def number_of_cases(self, training_cases: int) -> int | None:
        """Return the number of synthetic cases for so many training cases; ``None`` for one in each scan."""
        return self.cases if self.per_case is None else self.per_case * training_cases

    @property
    def one_drawing_a_scan(self) -> bool:
        """Whether there is one offline drawing for each scan, or drawings in a scan have the same label."""
        single = self.per_case == 1 or (self.per_case is None and self.cases is None)
        return single or self.masks == "own" or bool(self.own_share)

    @property
    def needs_lesion(self) -> bool:
        """Whether a scan needs a lesion of its own to be drawn into."""
        return self.of_own_lesion or SYNTHESIZERS[self.method].needs_lesion

    @property
    def of_own_lesion(self) -> bool:
        """Whether masks are made from each scan's own lesion."""
        return self.masks == "own" or self.own_share is not None or takes_own_lesion(self.mask_options.get("edit"))

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.method not in SYNTHESIZERS:
            raise ValueError(f"{self.method!r} is not a synthesizer: choose from {', '.join(SYNTHESIZERS)}")
        try:
            options = parse_options(SYNTHESIZERS[self.method].Config, self.options)
        except ConfigError as error:
            raise ValueError(f"options: {error}") from error
        try:
            if source_name(self.masks) == "files:DIR":
                raise ValueError("masks of files are the same for every training set: use another source")
            parse_options(MASK_SOURCES[source_name(self.masks)].Config, self.mask_options)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if self.per_case is not None and self.cases != type(self).model_fields["cases"].default:
            raise ValueError("cases has no effect beside per_case: leave one out")
        if self.own_share is not None and (self.masks == "own" or not SYNTHESIZERS[self.method].needs_mask):
            other = "masks: own, which redraws all" if self.masks == "own" else f"{self.method}, which takes no masks"
            raise ValueError(f"own_share has no effect beside {other}: leave it out")
        self._check_edit()
        try:
            check_displacement(self.displacement, needs_mask=SYNTHESIZERS[self.method].needs_mask)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if self.negatives and not getattr(options, "draws_negatives", False):
            what = "set healthy_holes, as 0.2, or mimics: 1 in its options"
            raise ValueError(f"negatives needs a method that fills holes: {what}")
        if self.negatives and (self.masks == "own" or takes_own_lesion(self.mask_options.get("edit"))):
            raise ValueError("negatives would remove each scan's own lesion while its label stays: use other masks")
        if self.needs_lesion and (self.targets is not None or self.lesion_free):
            other = "masks" if self.of_own_lesion else "methods"
            raise ValueError(f"lesion-free scans have no lesion of their own to draw: use other {other}")
        if self.selection is not None and not self.options.get("candidates"):
            raise ValueError("selection needs candidates: name epochs, such as `candidates: [10, 50]`, in the options")
        return self

    def _check_edit(self) -> None:
        """Raise ``ValueError`` if a named edit of the masks does not fit the scans that are drawn into."""
        edit = self.mask_options.get("edit")
        if takes_own_lesion(edit) and self.blend != "full":
            raise ValueError(f"the lesions of {edit} take the place of the scan's own: use blend: full")
        if edit == "transplant" and self.targets is None and not self.lesion_free:
            raise ValueError("transplant needs lesion-free brains: set lesion_free, or name targets")


class Arm(Part):
    """One composition of the training set.

    Attributes:
        augment: augmentation of the training items, see the options of the task.
        synthesizer: name of one of the plan's synthesizers, or ``None``.
        use: ``offline`` adds a synthetic cohort written beforehand; ``on_the_fly`` draws lesions into the real items
            during training.
        share: share of every batch that is synthetic, 0.5 by default. With ``on_the_fly``, only ``lesion_share`` of
            these items receive a lesion, that is ``share × lesion_share`` of all items.
        fade: shares of the steps between which the synthetic share falls to 0, such as ``[0.5, 0.8]``; real cases fill
            its place. Nothing else changes with it.
        kept: range of the Dice, such as ``[0.3, 0.9]``, with which a segmentation network must find the lesions of a
            drawing for the arm to train on it (offline use only). The network is the baseline's, trained on subjects
            other than those of the drawing's scan and mask. Negatives show no lesion to be found and are all kept.
        union: whether real and offline synthetic cases are one training set, so that the share of every batch that is
            synthetic is their share of the cases.
        real: number (or share) of the real training subjects that this arm trains on, all by default; the synthesizer
            is always fitted on all of them.
        finetune: share of the training steps, at the end, that use real cases only, after steps on synthetic cases
            only; ``None`` mixes both from the first step. Arms that differ only in ``real`` share the steps on
            synthetic cases.
        placebo: what stands in for the drawings, as a control. ``undrawn``: the scans as they were before, with the
            labels that they had. ``shuffled_labels``: the drawings, each with the label of another drawing in the same
            scan (offline use only).
        longer: factor of the training steps, for the control of longer training.
        task: options of the segmentation network that differ from the plan's, for ablations.
    """

    augment: str = "classical"
    synthesizer: str | None = None
    use: Literal["offline", "on_the_fly"] = "offline"
    share: float | None = Field(default=None, gt=0, le=1)
    fade: tuple[float, float] | None = None
    kept: tuple[float, float] | None = None
    union: bool = False
    real: int | float | None = Field(default=None, gt=0)
    finetune: float | None = Field(default=None, gt=0, lt=1)
    placebo: Literal["undrawn", "shuffled_labels"] | None = None
    longer: float | None = Field(default=None, gt=1)
    task: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.finetune is not None and self.synthesizer is None:
            raise ValueError("finetune needs a synthesizer to train on first")
        if self.share is not None and self.synthesizer is None:
            raise ValueError("share has no effect without a synthesizer: name one, or leave the share out")
        if self.share is not None and self.finetune is not None:
            raise ValueError("share has no effect beside finetune, which trains on synthetic cases alone first")
        if self.fade is not None:
            self._check_fade(self.fade)
        if self.kept is not None:
            self._check_kept(self.kept)
        if self.union and (self.synthesizer is None or self.use == "on_the_fly"):
            raise ValueError("union needs a synthesizer and its offline cases")
        if self.union and (self.share is not None or self.finetune is not None):
            raise ValueError("union fixes the share and the length of training on synthetic cases: leave them out")
        if self.placebo is not None and self.synthesizer is None:
            raise ValueError("placebo stands in for drawings: name the synthesizer that makes them")
        if self.placebo == "shuffled_labels" and self.use == "on_the_fly":
            raise ValueError("labels are shuffled among drawings on disk: use offline")
        return self

    def _check_fade(self, fade: tuple[float, float]) -> None:
        """Raise ``ValueError`` if nothing can fall, or something else fixes when synthetic cases are used."""
        if self.synthesizer is None:
            raise ValueError("fade has no effect without a synthesizer: name one, or leave the fade out")
        if self.finetune is not None or self.union:
            other = "union" if self.union else "finetune"
            raise ValueError(f"fade has no place beside {other}, which says when synthetic cases are used: choose one")
        try:
            Fade.over(1, fade)
        except ConfigError as error:
            raise ValueError(f"{error.what}: {error.remedy}") from error

    def _check_kept(self, kept: tuple[float, float]) -> None:
        """Raise ``ValueError`` if no drawings can be chosen."""
        if self.synthesizer is None or self.use == "on_the_fly":
            raise ValueError("kept needs a synthesizer and its offline cases")
        if self.placebo == "shuffled_labels":
            raise ValueError("labels are shuffled among all drawings of a scan: leave kept out")
        if not 0 <= kept[0] < kept[1] <= 1:
            raise ValueError(f"kept is {kept[0]:g} to {kept[1]:g}: give a range of Dice within 0 to 1")

    def synthetic_share(self, *, real: int, synthetic: int) -> float:
        """Return the share of every batch that is synthetic, if the arm has a synthesizer.

        Args:
            real: number of real cases.
            synthetic: number of offline synthetic cases.
        """
        if self.union:
            return synthetic / max(real + synthetic, 1)
        return self.given_share

    @property
    def given_share(self) -> float:
        """The share of every batch that is synthetic, unless ``union`` determines it."""
        return SYNTHETIC_SHARE if self.share is None else self.share
