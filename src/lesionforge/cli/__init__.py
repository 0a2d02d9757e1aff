"""The command line: each command calls one public function that a Python user calls too."""

from lesionforge.cli.app import app, main

__all__ = ["app", "main"]
