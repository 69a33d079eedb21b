"""What several commands have in common: an argument, the end of their help, where state is kept."""

from __future__ import annotations

from pathlib import Path

import click

from pool_lifecycle.cli.exits import MEANINGS
from pool_lifecycle.config import Config

EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())

FILE = click.argument("file", type=click.Path(path_type=Path))


def state_dir_of(config: Config, given: Path | None) -> Path:
    """Where a manager of the pools of this file keeps its files."""
    if given is not None:
        return given
    declared = config.manager.state_dir
    return config.file.with_suffix(".state") if declared is None else Path(declared)
