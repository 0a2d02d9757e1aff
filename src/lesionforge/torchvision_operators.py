"""Lets torchvision be imported where its compiled part does not load.

PyPI has torchvision for the CUDA build of torch alone. Beside a torch for CPUs its compiled part, the operators for
boxes, does not load. torchvision goes on without it, but then describes the operator ``nms``, which nobody declared,
and fails. So does every library that imports torchvision where it is there, such as Lightning. None of those that
lesionforge uses calls these operators; torchvision itself tells whoever does that they are missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

DESCRIBED = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class DeclaresOperators(MetaPathFinder):
    """Finds no module, but declares the operators just before torchvision describes them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Declare the operators if ``fullname`` is the module that describes them and they did not load."""
        if fullname == "torchvision._meta_registrations" and not import_module("torchvision.extension")._has_ops():
            library = import_module("torch.library")
            for name in DESCRIBED:
                library.define(f"torchvision::{name}", SIGNATURE)
        return None


def declare_missing_operators() -> None:
    """Declare torchvision's operators when it is imported, if its compiled part does not load."""
    if not any(isinstance(finder, DeclaresOperators) for finder in sys.meta_path):
        sys.meta_path.insert(0, DeclaresOperators())
