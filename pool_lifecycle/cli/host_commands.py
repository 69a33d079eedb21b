"""The commands that look at this host, and start nothing."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from pool_lifecycle.cli import capability_table, doctor, gpus
from pool_lifecycle.cli.exits import BY_SIGNAL, Exit
from pool_lifecycle.cli.options import EPILOG, FILE, state_dir_of
from pool_lifecycle.cli.words import console, problems_as_json, told
from pool_lifecycle.config import load
from pool_lifecycle.errors import ConfigError

_GPUS_EXAMPLES = """\b
Examples:
  pool-lifecycle gpus
  pool-lifecycle gpus --watch --every 5
  pool-lifecycle gpus --json

"""

_DOCTOR_EXAMPLES = """\b
Examples:
  pool-lifecycle doctor pools.toml
  pool-lifecycle doctor pools.toml --state-dir /var/lib/pools --json

"""


@click.command("capabilities", epilog=EPILOG, short_help="Say what this host allows.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def capabilities(file: Path | None, as_json: bool) -> None:
    """Say what is in force on this host, for this user: how strongly engines are held together, how their
    ends are noticed, what ends them when the manager is killed; and what would help where it could be better.

    With FILE for the drivers that its pools name, without for the usual ones. Nothing is started.
    """
    try:
        found = capability_table.here(() if file is None else load(file).pools)
    except ConfigError as error:
        told(error.problems, console(sys.stderr))
        sys.exit(Exit.BAD_CONFIG)
    if as_json:
        click.echo(capability_table.as_json(found))
    else:
        capability_table.show(found, console())


@click.command("gpus", epilog=_GPUS_EXAMPLES + EPILOG, short_help="Show the GPUs, and who has their memory.")
@click.option("--probe", "name", default="nvml", show_default=True, help="The driver that looks at them.")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks with --watch.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: a document, or with --watch a line a look."
)
def show_gpus(name: str, watch: bool, every: float, as_json: bool) -> None:
    """Show the GPUs of this host as the pools' GPU probe sees them, with their MIG instances, and the
    processes that hold memory of them.

    Where the output of --watch is piped it is JSON, one object a line.
    """
    try:
        code = gpus.run(name, every=every if watch else None, as_json=as_json)
    except ConfigError as error:
        raise click.BadParameter(error.problems[0].valid, param_hint="--probe") from error
    sys.exit(code)


@click.command("doctor", epilog=_DOCTOR_EXAMPLES + EPILOG, short_help="Say what keeps pools from starting.")
@FILE
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the manager keeps its files, as given to `run`. Without it: as `run` chooses it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def examine(file: Path, state_dir: Path | None, as_json: bool) -> None:
    """Say everything that would keep the pools of FILE from starting on this host, and what would help.

    What is asked is what a start asks: programs, ports, folders, memory, models, GPUs. Nothing is started,
    fetched or written, and a manager that runs is not disturbed.
    """
    try:
        config = load(file)
    except ConfigError as error:
        if as_json:
            click.echo(problems_as_json(error.problems))
        else:
            told(error.problems, console(sys.stderr))
        sys.exit(Exit.BAD_CONFIG)
    try:
        sys.exit(doctor.run(config, state_dir_of(config, state_dir), as_json=as_json))
    except KeyboardInterrupt:
        sys.exit(BY_SIGNAL + signal.SIGINT)


HOST_COMMANDS = (capabilities, show_gpus, examine)
