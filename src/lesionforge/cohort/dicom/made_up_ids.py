"""Ids that stand for a person and do not name them."""

from __future__ import annotations

import hashlib
import re
from functools import cache

MADE_UP = re.compile(r"sub-[0-9a-f]{12}")


@cache
def made_up_id(name: str) -> str:
    """Return ``sub-`` and a hash of a name, or the name itself if it already is such an id.

    The hash takes a few hundredths of a second, so that trying all numbers that a hospital may have given takes long.
    It does not keep anybody from trying those that they know.
    """
    if MADE_UP.fullmatch(name):
        return name
    digest = hashlib.scrypt(name.encode("utf-8", "surrogateescape"), salt=b"lesionforge", n=2**13, r=8, p=1, dklen=6)
    return f"sub-{digest.hex()}"
