"""Silencing messages of third-party libraries."""

import logging
import warnings


def quiet() -> None:
    """Silence Lightning's banners and tips and third-party deprecation warnings in this process.

    Lightning is imported first, because its import resets its loggers.
    """
    import lightning.pytorch  # noqa: F401

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module="lightning")
