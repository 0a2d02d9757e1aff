"""How many of the training items show a lesion that was drawn."""

from __future__ import annotations

from lesionforge.seeding import generator
from lesionforge.tasks.segmentation.training_set import TrainingSet

ITEMS = "items.json"
"""Note in the folder of a network that was trained with drawn lesions."""
COUNTED = {"on_disk": 1000, "on_the_fly": 200}
"""Items that are looked at; lesions that are drawn on the fly are drawn once more for it."""


def count_new_lesions(items: TrainingSet, number: int) -> dict[str, float | int]:
    """Return the content of ``items.json``, counted on random items of a run.

    Args:
        items: the training items.
        number: number of items of the whole run.

    Returns:
        ``items`` of the run, how many were ``counted``, and which share of these shows a ``new_lesion``: one drawn
        where the scan had none, in the crop or slice that the network gets, before augmentation. In a scan that is not
        among the real cases, every lesion is new.
    """
    counted = min(number, COUNTED["on_the_fly" if items.draws_on_the_fly else "on_disk"])
    draws = generator(items.seed, "counted").choice(number, counted, replace=False)
    new = sum(items.shows_new_lesion(int(draw)) for draw in draws)
    return {"items": number, "counted": counted, "new_lesion": new / counted}
