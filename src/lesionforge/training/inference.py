"""Running networks where they lie, so that on a CPU the result does not depend on how many threads there are."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from math import prod
from typing import TypeVar

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from lesionforge.cohort.scan import FloatArray

SUB_BATCH_VOXELS = {"cpu": 2**16, "cuda": 2**22}
Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def with_threads(threads: int) -> Iterator[None]:
    """Within the block, torch computes on so many CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Within the block, torch computes on one CPU thread, so sums are taken in one order."""
    return with_threads(1)


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return ``function`` of every item, in order; torch computes as many at once as it has threads, each on one.

    Args:
        function: runs networks; it enters ``torch.inference_mode`` itself, which holds for one thread only.
        items: what it is called with.
    """
    threads = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def device_of(network: nn.Module) -> torch.device:
    """Return where a network lies, and so where its inputs have to go; the CPU for one without weights."""
    return next((weights.device for weights in network.parameters()), torch.device("cpu"))


def sub_batch(shape: Sequence[int], device: torch.device) -> int:
    """Return how many inputs of a spatial shape a network takes at once on a device."""
    return max(1, SUB_BATCH_VOXELS[device.type] // prod(shape))


def in_sub_batches(network: nn.Module, inputs: FloatArray, *, size: int | None = None) -> FloatArray:
    """Return what a network makes of a stack of inputs, on one CPU thread or the device where it lies.

    Args:
        network: takes ``(batch, channel, x, y[, z])``, or whatever else has the batch in front.
        inputs: the stack.
        size: inputs that it takes at once; as many as :func:`sub_batch` says unless given.
    """
    device = device_of(network)
    parts = torch.from_numpy(np.asarray(inputs, np.float32)).split(size or sub_batch(inputs.shape[2:], device))
    with one_thread(), torch.inference_mode():
        made = torch.cat([network(part.to(device)).float().cpu() for part in parts])
    return np.asarray(made.numpy(), np.float32)


def in_windows(network: nn.Module, inputs: FloatArray, *, roi_size: Sequence[int]) -> FloatArray:
    """Return what a network makes of whole slices or volumes, in windows of the size that it was trained on.

    Windows overlap by a quarter and are blended; what is smaller is filled up with 0. They are taken in sub-batches.

    Args:
        network: ``(batch, channel, *roi_size)`` to the same spatial size.
        inputs: ``(n, channel, x, y[, z])``.
        roi_size: of the windows, in voxels.
    """
    device = device_of(network)
    with one_thread(), torch.inference_mode():
        made = sliding_window_inference(
            torch.from_numpy(np.ascontiguousarray(inputs, np.float32)),
            roi_size,
            sub_batch(roi_size, device),
            network,
            mode="gaussian",
            sw_device=device,
            device=torch.device("cpu"),
        )
    return np.asarray(made.numpy(), np.float32)
