"""Keeping libraries' notices about themselves out of a user's terminal."""

import logging
import traceback
import warnings

from lesionforge.errors import ConfigError


def quiet() -> None:
    """Silence Lightning's banners and tips, and notices of deprecation inside libraries, in this process.

    Lightning and MONAI are imported first, since the import of Lightning sets its loggers anew.
    """
    import_libraries()
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module="lightning")


def import_libraries() -> None:
    """Import Lightning and MONAI, and with them torchvision where it is installed.

    Raises:
        ConfigError: if they cannot be imported.
    """
    try:
        import lightning.pytorch  # noqa: F401
        import monai.transforms  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        if "torchvision" in f"{first}{''.join(traceback.format_tb(error.__traceback__))}":
            what = f"does not fit the installed torch ({first})"
            remedy = "install the two as a pair, see https://pytorch.org/get-started; or: pip uninstall torchvision"
            raise ConfigError("torchvision", what, remedy) from error
        remedy = "install lesionforge anew: pip install --force-reinstall lesionforge"
        raise ConfigError("the installed packages", f"cannot be imported ({first})", remedy) from error
