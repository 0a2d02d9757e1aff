"""Real slices, and what could have been drawn from them."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import read_raw
from tests.helpers import write_array


def drawn_from(cohort, folder, change=lambda image: image, *, synthesizer="changed"):
    """Return a synthetic case for each one: its own mask, its image changed."""
    cases = []
    for case in cohort:
        images = {}
        for channel, path in case.images.items():
            images[channel] = folder / path.name
            write_array(folder / path.name, np.clip(change(read_raw(path)[0].astype(float)), 0, 255))
        facts = {"source_case": case.case_id, "mask_id": case.case_id, "parents": (case.subject_id,)}
        cases.append(
            replace(
                case, case_id=f"{case.case_id}_s", images=images, origin="synthetic", synthesizer=synthesizer, **facts
            )
        )
    return cohort.with_cases(cases)


def blur(image):
    return ndimage.gaussian_filter(image, 1)
