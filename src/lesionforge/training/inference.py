"""Running networks on whole scans, so that the result does not depend on how many threads there are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from lesionforge.cohort.scan import FloatArray

SUB_BATCH_VOXELS = {"cpu": 2**16, "cuda": 2**22}


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block, torch computes on one CPU thread, so sums are taken in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def sub_batch(shape: Sequence[int], device: torch.device) -> int:
    """Return how many inputs of a spatial shape a network takes at once on a device."""
    return max(1, SUB_BATCH_VOXELS[device.type] // prod(shape))


def in_windows(network: nn.Module, inputs: FloatArray, *, roi_size: Sequence[int], device: torch.device) -> FloatArray:
    """Return what a network makes of whole slices or volumes, in windows of the size that it was trained on.

    Windows overlap by a quarter and are blended; what is smaller is filled up with 0. They are taken in sub-batches.

    Args:
        network: ``(batch, channel, *roi_size)`` to the same spatial size.
        inputs: ``(n, channel, x, y[, z])``.
        roi_size: of the windows, in voxels.
        device: where the network lies.
    """
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
