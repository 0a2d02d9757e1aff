"""What nnU-Net's plans say of the space of its patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lesionforge.errors import ConfigError
from lesionforge.tasks.nnunet.reading import AXES_READ


@dataclass(frozen=True, kw_only=True)
class Plans:
    """What nnU-Net's plans say of the space of its patches.

    Attributes:
        channels: names of the channels.
        order: for each axis of a file, the axis of nnU-Net's preprocessed array.
        transpose: for each axis of the preprocessed array, the axis of the array as it was read.
        spacing: millimetres along the two or three axes of a patch.
        schemes: for each channel, the name of the class that normalises it.
        masked: for each channel, whether only voxels that are not 0 are normalised.
        facts: for each channel, its intensities over the data set.
    """

    channels: tuple[str, ...]
    order: tuple[int, ...]
    transpose: tuple[int, ...]
    spacing: tuple[float, ...]
    schemes: tuple[str, ...]
    masked: tuple[bool, ...]
    facts: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, trainer: Any) -> Plans:
        """Return the plans of an ``nnUNetTrainer``.

        Raises:
            ConfigError: if its files are read by a class that turns them in an unknown way.
        """
        whole, own = trainer.plans_manager, trainer.configuration_manager
        reader, names = whole.plans["image_reader_writer"], trainer.dataset_json["channel_names"]
        if reader not in AXES_READ:
            raise ConfigError("nnU-Net's plans", f"{reader} reads the files", f"plan with {', '.join(AXES_READ)}")
        transpose = tuple(whole.transpose_forward)
        facts = whole.foreground_intensity_properties_per_channel
        return cls(
            channels=tuple(names[str(number)] for number in range(len(names))),
            order=tuple(transpose.index(axis) for axis in AXES_READ[reader]),
            transpose=transpose,
            spacing=tuple(own.spacing),
            schemes=tuple(own.normalization_schemes),
            masked=tuple(own.use_mask_for_norm),
            facts=tuple(facts[str(number)] for number in range(len(names))),
        )
