"""Keeping libraries' notices about themselves out of a user's terminal."""

import logging
import warnings


def quiet() -> None:
    """Silence Lightning's banners and tips, and notices of deprecation inside libraries, in this process.

    Lightning is imported first, since its import sets its loggers anew.
    """
    import lightning.pytorch  # noqa: F401

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module="lightning")
