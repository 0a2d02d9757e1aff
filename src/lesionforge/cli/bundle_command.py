"""The command bundle."""

from __future__ import annotations

from typing import Annotated

import typer

from lesionforge.cli.common import ModelFolder, Out, console


def bundle(
    model: ModelFolder,
    out: Out,
    candidate: Annotated[
        str | None, typer.Option(help="Take a generator kept from an earlier epoch, such as epoch_050.")
    ] = None,
) -> None:
    """Write a trained synthesizer as a MONAI bundle, which draws the same cases as synthesize.

    Example: lesionforge bundle model --out bundle
    """
    from lesionforge.production.bundle import write_bundle

    write_bundle(model, out, candidate=candidate)
    console.print(f"{out}: a MONAI bundle; see {out / 'docs' / 'README.md'}")
