"""What does our training loop cost beside the networks?

Compares steps of pix2pix at its default size through ``lesionforge.training.loop.fit`` (Lightning, logging,
checkpoints) with a bare PyTorch loop over the same networks, losses, optimisers and loader. The bare loop runs between
our steps, in the same process. The default size is 8 crops of 64 × 64 pixels and networks of a quarter of the
published width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

from comparison import Comparison, processor_ms, show
from data import one_thread, slice_preprocessing, tumours
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lesionforge.synthesizers.translation.crop_config import condition_of
from lesionforge.synthesizers.translation.pix2pix import Pix2PixConfig, Pix2PixModule
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.loop import TrainingConfig, fit
from lesionforge.training.model_folder import describe
from lesionforge.training.quiet import quiet

WINDOW, WINDOWS = 10, 30
TRAINING = TrainingConfig(steps=WINDOW * (WINDOWS + 1), batch_size=8, device="cpu", checkpoint_minutes=0)


class Ready(Dataset[dict[str, Tensor]]):
    """Crops that were made beforehand, over and over, so that making them hides nothing."""

    def __init__(self, crops: TrainingCrops, n: int) -> None:
        self.items = [crops[draw] for draw in range(n)]

    def __len__(self) -> int:
        return TRAINING.steps * TRAINING.batch_size

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        return self.items[draw % len(self.items)]


class Between(Callback):
    """After every window of our steps, runs and times as many of each of the others."""

    def __init__(self, *others: Callable[[], None]) -> None:
        self.others, self.rounds, self.began = others, [], 0.0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Run and time the others if a window is full."""
        if (trainer.global_step // 2) % WINDOW:
            return
        ours = 1000 * (time.process_time() - self.began)
        self.rounds.append([ms / WINDOW for ms in (ours, *map(processor_ms, self.others))])
        self.began = time.process_time()


def measure() -> list[Comparison]:
    one_thread()
    quiet()
    with TemporaryDirectory() as name:
        make_module, crops = setup(Path(name))
        whole, plain = bare_loop(make_module(), crops, extras=True), bare_loop(make_module(), crops, extras=False)
        between = Between(whole, plain)
        fit(make_module(), crops, out=Path(name) / "run", config=TRAINING, callbacks=(between,))
    rounds = between.rounds[1:]
    return [
        Comparison(
            name="with averaging and pool in both",
            first="our loop",
            second="bare loop",
            pairs=[(ours, other) for ours, other, _ in rounds],
            at_most=1.05,
        ),
        Comparison(
            name="without them in the bare loop",
            first="our loop",
            second="barer loop",
            pairs=[(ours, other) for ours, _, other in rounds],
        ),
        Comparison(
            name=f"mean of all, a checkpoint every {TRAINING.epoch_steps} steps",
            first="our loop",
            second="bare loop",
            pairs=[(mean(ours for ours, _, _ in rounds), mean(other for _, other, _ in rounds))],
        ),
    ]


def setup(folder: Path) -> tuple[Callable[[], Pix2PixModule], Ready]:
    cohort = tumours(folder, n_subjects=2, spacing=2.0)
    preprocessing = slice_preprocessing(cohort)
    config = Pix2PixConfig(roi_size=(64, 64))
    condition = condition_of(config, describe("pix2pix", config, preprocessing, cohort))
    crops = TrainingCrops(cached_samples(cohort, preprocessing), config, condition, seed=0)
    return lambda: Pix2PixModule(config, condition, seed=0), Ready(crops, 64)


def bare_loop(module: Pix2PixModule, crops: Ready, *, extras: bool) -> Callable[[], None]:
    """Return a function that makes a window of steps, with averaging and image pool if ``extras``."""
    batches: Iterator[dict[str, Tensor]] = iter(DataLoader(crops, batch_size=TRAINING.batch_size))
    optimizer_g, optimizer_d = module.configure_optimizers()

    def step(batch: dict[str, Tensor]) -> None:
        module.critic.requires_grad_(False)
        optimizer_g.zero_grad()
        loss, fakes, _ = module.generator_loss(batch)
        loss.backward()
        optimizer_g.step()
        module.critic.requires_grad_(True)
        optimizer_d.zero_grad()
        loss, _ = module.critic_loss(batch, module.pool.exchange(fakes) if extras else fakes)
        loss.backward()
        optimizer_d.step()
        if extras:
            module.averaged.update_parameters(module.generator)

    def window() -> None:
        for _ in range(WINDOW):
            step(next(batches))

    return window


if __name__ == "__main__":
    show("A training step of pix2pix: 8 crops of 64 × 64, default networks", measure())
