"""Application of a segmentation network to slices and volumes of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from lesionforge.cohort.scan import FloatArray
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.training.inference import device_of

SLICES_AT_ONCE, WINDOWS_AT_ONCE = 16, {2: 16, 3: 2}


def segment_slices(network: nn.Module, image: FloatArray, config: SegmentationConfig, background: float) -> Any:
    """Return the class index of every voxel, predicted slice by slice along the last axis."""
    volume = image if image.ndim == 4 else image[..., None]
    stack = torch.from_numpy(np.ascontiguousarray(np.moveaxis(volume, -1, 0)))
    found = [segment_windows(network, slices, config, background) for slices in stack.split(SLICES_AT_ONCE)]
    together = np.moveaxis(np.concatenate(found), 0, -1)
    return together if image.ndim == 4 else together[..., 0]


def segment_windows(network: nn.Module, images: Tensor, config: SegmentationConfig, background: float) -> Any:
    """Return the class index of every voxel of ``(batch, channel, x, y[, z])`` images.

    The sliding windows have the size of the training crops, because instance norm depends on the size of its input.
    """
    assert config.roi_size is not None
    device, at_once = device_of(network), WINDOWS_AT_ONCE[config.spatial_dims]
    logits = sliding_window_inference(
        images.to(device), config.roi_size, at_once, network, overlap=0.5, mode="gaussian", cval=background
    )
    return torch.as_tensor(logits).argmax(1).cpu().numpy()
