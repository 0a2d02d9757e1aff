"""Which memory layout and which precision make a 3D training step fast?

Times a step of the default 3D segmentation network (MONAI's residual U-Net, Dice and cross-entropy, AdamW) on crops of
64 × 64 × 32 voxels with three channels: contiguous against channels last, and, where there is a CUDA device, fp32
against bf16 in channels last.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from comparison import Comparison, alternate, show
from data import one_thread
from monai.losses import DiceCELoss
from monai.networks.nets import UNet

from lesionforge.training.loop import channels_last

SIZE, CHANNELS, BATCH, ROUNDS = (64, 64, 32), 3, 2, 7


def measure() -> list[Comparison]:
    one_thread()
    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    timed = _timed if on_gpu else alternate
    layouts = timed(ROUNDS, step(device, last=True), step(device, last=False))
    rows = [
        Comparison(
            name=f"3D step, {device}, fp32",
            first="channels last",
            second="contiguous",
            pairs=[(one, other) for one, other in layouts],
        )
    ]
    if on_gpu:
        precisions = _timed(ROUNDS, step(device, last=True, bf16=True), step(device, last=True))
        rows.append(
            Comparison(
                name="3D step, channels last",
                first="bf16",
                second="fp32",
                pairs=[(one, other) for one, other in precisions],
            )
        )
    return rows


def step(device: str, *, last: bool, bf16: bool = False) -> Callable[[], None]:
    """Return a function that makes one training step, with a network and a batch of its own."""
    torch.manual_seed(0)
    network = UNet(3, CHANNELS, 2, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2).to(device)
    if last:
        channels_last(network, spatial_dims=(3,))
    optimiser, loss_of = torch.optim.AdamW(network.parameters(), lr=1e-3), DiceCELoss(to_onehot_y=True, softmax=True)
    layout = torch.channels_last_3d if last else torch.contiguous_format
    image = torch.randn(BATCH, CHANNELS, *SIZE, device=device).to(memory_format=layout)
    label = (image[:, :1] > 1).float()

    def one() -> None:
        optimiser.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = loss_of(network(image), label)
        loss.backward()
        optimiser.step()

    return one


def _timed(repeats: int, *actions: Callable[[], None]) -> list[tuple[float, ...]]:
    """Run the actions in turn on a GPU and return the milliseconds of each; a first round is not counted."""
    rounds = []
    for _ in range(repeats + 1):
        times = []
        for action in actions:
            torch.cuda.synchronize()
            began = time.perf_counter()
            action()
            torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - began))
        rounds.append(tuple(times))
    return rounds[1:]


if __name__ == "__main__":
    show("A 3D training step: two crops of 64 × 64 × 32 with three channels", measure())
