"""Are distances computed only where they are needed?

Compares CarveMix as it is here (cut the lesion out with its context, signed distance on that crop, carve, paste) with
the signed distance to the lesion over the whole volume that the plain way starts with.
"""

from __future__ import annotations

import numpy as np
from comparison import Comparison, alternate, show
from data import tumour_volume
from scipy import ndimage

from lesionforge.preprocessing.lesions.lesion_library import cut_lesion
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.training_free.carvemix import carve, paste_region

SHAPE = (182, 218, 182)
RADII_MM = (5.0, 15.0, 25.0)
ROUNDS = 3


def measure() -> list[Comparison]:
    target = tumour_volume(SHAPE, 10.0)
    return [compare(tumour_volume(SHAPE, radius), target, radius) for radius in RADII_MM]


def compare(donor: Sample, target: Sample, radius: float) -> Comparison:
    assert donor.label is not None
    inside = donor.label > 0
    rng = np.random.default_rng(0)

    def ours() -> None:
        lesion = cut_lesion(donor, 0, context_mm=6.0)
        paste_region(target, lesion, carve(lesion, rng))

    def plain() -> None:
        ndimage.distance_transform_edt(~inside, sampling=donor.spacing) - ndimage.distance_transform_edt(
            inside, sampling=donor.spacing
        )

    rounds = alternate(ROUNDS, plain, ours)
    return Comparison(
        name=f"lesion of {2 * radius:g} mm",
        first="distance over the whole volume",
        second="CarveMix",
        pairs=[(whole, crop) for whole, crop in rounds],
        at_least=10,
    )


if __name__ == "__main__":
    show("CarveMix on 182 × 218 × 182 voxels", measure())
