"""Commands as a user types them, in this process; :func:`typed` is ``lesionforge ARGUMENTS``."""

import re

from typer.testing import CliRunner

from lesionforge.cli import app

GAN = ["width=0.06", "channels=[8,16]", "roi_size=[32,32]", "training.epoch_steps=2", "training.batch_size=2"]
UNET = ["filters=[4,8]", "training.batch_size=2", "training.epoch_steps=2"]


def typed(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def error(*arguments):
    """Run a command that must fail; return its message, which is the one line of the error contract."""
    result = typed(*arguments, code=2)
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.output
    assert re.fullmatch(r"error: .+: .+; .+", lines[0])
    assert "Traceback" not in result.output
    return lines[0]


def sets(settings):
    return [part for setting in settings for part in ("--set", setting)]


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
