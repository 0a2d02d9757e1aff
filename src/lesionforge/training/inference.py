"""Running networks on their device; on a CPU the result does not depend on the number of threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from math import prod
from typing import Any, TypeVar

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from lesionforge.cohort.scan import FloatArray

SUB_BATCH_VOXELS = {"cpu": 2**16, "cuda": 2**22}
Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def with_threads(threads: int) -> Iterator[None]:
    """Limit torch to ``threads`` CPU threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Limit torch to one CPU thread within the block, so that sums are always taken in the same order."""
    return with_threads(1)


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Apply ``function`` to every item in parallel and return the results in order.

    As many items run at once as torch has threads; each of them runs on one thread.

    Args:
        function: runs networks. It must enter ``torch.inference_mode`` itself, which holds for one thread only.
        items: arguments of the calls.
    """
    threads = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's weights; the CPU for a network without weights."""
    return next((weights.device for weights in network.parameters()), torch.device("cpu"))


def sub_batch(shape: Sequence[int], device: torch.device) -> int:
    """Return how many inputs of a spatial shape a network processes at once on a device."""
    return max(1, SUB_BATCH_VOXELS[device.type] // prod(shape))


def in_sub_batches(network: nn.Module, inputs: FloatArray, *, size: int | None = None) -> FloatArray:
    """Apply a network to a stack of inputs in sub-batches, on one CPU thread or on the network's device.

    Args:
        network: takes ``(batch, channel, x, y[, z])``, or any other input with the batch as first axis.
        inputs: stack of inputs.
        size: inputs per sub-batch; :func:`sub_batch` chooses it unless given.

    Returns:
        The stack of outputs, float32.
    """
    device = device_of(network)
    parts = torch.from_numpy(np.asarray(inputs, np.float32)).split(size or sub_batch(inputs.shape[2:], device))
    with one_thread(), torch.inference_mode():
        made = torch.cat([network(part.to(device)).float().cpu() for part in parts])
    return np.asarray(made.numpy(), np.float32)


def in_windows(
    network: nn.Module, inputs: FloatArray, *, roi_size: Sequence[int], seamless: bool = False
) -> FloatArray:
    """Apply a network to whole slices or volumes with a sliding window of the size it was trained on.

    Windows overlap by a quarter and are blended with Gaussian weights. Inputs smaller than a window are padded with 0.
    Windows are processed in sub-batches.

    Instance norm makes a network draw the same voxels at another level in another window. Gaussian weights hand over
    from one window to the next within about two voxels, which shows as a seam. With ``seamless`` the windows overlap
    by half and each fades linearly, so that the level changes over half a window.

    Args:
        network: maps ``(batch, channel, *roi_size)`` to the same spatial size.
        inputs: ``(n, channel, x, y[, z])``.
        roi_size: size of a window in voxels.
        seamless: whether windows overlap by half and fade linearly.

    Returns:
        The outputs, ``(n, channel, x, y[, z])``, float32.
    """
    device = device_of(network)
    blending: dict[str, Any] = {"mode": "gaussian"}
    if seamless:
        blending = {"overlap": 0.5, "roi_weight_map": linear_weights(roi_size)[None, None]}
    with one_thread(), torch.inference_mode():
        made = sliding_window_inference(
            torch.from_numpy(np.ascontiguousarray(inputs, np.float32)),
            roi_size,
            sub_batch(roi_size, device),
            network,
            sw_device=device,
            device=torch.device("cpu"),
            **blending,
        )
    return np.asarray(made.numpy(), np.float32)


def linear_weights(size: Sequence[int]) -> Tensor:
    """Return the weights of a window's voxels, which fall linearly from its middle to its edges along each axis."""
    weights = torch.ones(())
    for n in size:
        place = torch.arange(n) + 0.5
        weights = weights[..., None] * torch.minimum(place, n - place) / (n / 2)
    return weights
