"""The commands: what they take, and with which code they end."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click
from rich.text import Text

from pool_lifecycle import __version__
from pool_lifecycle.cli import apply as applying
from pool_lifecycle.cli import history as past
from pool_lifecycle.cli import stage as staging
from pool_lifecycle.cli.exits import BY_SIGNAL, Exit
from pool_lifecycle.cli.host_commands import HOST_COMMANDS
from pool_lifecycle.cli.options import EPILOG, FILE, state_dir_of
from pool_lifecycle.cli.run import FORMATS, fitting_format
from pool_lifecycle.cli.run import run as run_pools
from pool_lifecycle.cli.running import NobodyRuns, Running
from pool_lifecycle.cli.watching import Watch
from pool_lifecycle.cli.words import config_as_json, console, printable, problems_as_json, show_pools, told
from pool_lifecycle.config import load
from pool_lifecycle.diagrams import DIAGRAMS
from pool_lifecycle.errors import ConfigError, StateDirError, StoreError
from pool_lifecycle.references import Reference, digest_defect
from pool_lifecycle.simulation import WEEK, as_json, as_text, load_trace, picture, replay

_OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file to write the drawing to.",
)

_SIMULATE_EXAMPLES = """\b
Examples:
  pool-lifecycle simulate pools.toml crashes.jsonl -o crashes.svg
  pool-lifecycle simulate tomorrow.toml yesterdays-log.jsonl --format json

"""

_HISTORY_EXAMPLES = """\b
Examples:
  pool-lifecycle history chat --state-dir pools.state
  pool-lifecycle history chat --state-dir /var/lib/pools --limit 1000 --format json

"""

_STAGE_EXAMPLES = """\b
Examples:
  pool-lifecycle stage /models/chat.gguf
  pool-lifecycle stage hf:org/repo@main::file=chat.gguf --cache-dir /var/lib/models --limit 200GiB

"""

_RUN_EXAMPLES = """\b
Examples:
  pool-lifecycle run pools.toml
  pool-lifecycle run pools.toml --state-dir /var/lib/pools | tee pools.log
  pool-lifecycle run pools.toml --watch

"""

_APPLY_EXAMPLES = """\b
Examples:
  pool-lifecycle apply pools.toml --plan
  pool-lifecycle apply pools.toml

"""


@click.group(
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, "-V", "--version", prog_name="pool-lifecycle")
def cli() -> None:
    """Run model servers as pools with a life of their own: start, readiness, leases, drain, recovery.

    Pools are declared in a TOML file; docs/configuration.md explains every key.

    \b
    Examples:
      pool-lifecycle check pools.toml
      pool-lifecycle doctor pools.toml
      pool-lifecycle run pools.toml
      pool-lifecycle apply pools.toml --plan
      pool-lifecycle stage https://example.org/chat.gguf
      pool-lifecycle history chat --state-dir pools.state
      pool-lifecycle simulate pools.toml crashes.jsonl -o crashes.svg
      pool-lifecycle diagram breaker --format svg -o breaker.svg
    """


for _command in HOST_COMMANDS:
    cli.add_command(_command)


@cli.command(epilog=EPILOG, short_help="Say whether a file is right.")
@FILE
@click.option("--json", "as_json", is_flag=True, help="Print everything, defaults too, as one JSON document.")
def check(file: Path, as_json: bool) -> None:
    """Say whether FILE is right: its pools at a glance, or every problem in it.

    Nothing is started, and no file that FILE names is looked at. Values of environment variables are not
    shown.
    """
    try:
        config = load(file)
    except ConfigError as error:
        if as_json:
            click.echo(problems_as_json(error.problems))
        else:
            told(error.problems, console(sys.stderr))
        sys.exit(Exit.BAD_CONFIG)
    if as_json:
        click.echo(config_as_json(config))
    else:
        show_pools(config, console())


@cli.command(epilog=_RUN_EXAMPLES + EPILOG, short_help="Run the pools of a file.")
@FILE
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the manager keeps its files. Without it: `manager.state_dir` of FILE, else FILE's name with "
    "the ending .state.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(FORMATS),
    help="screen: a table kept up to date below lines for people; lines: these lines only; json: one JSON "
    "object a line. Without it: screen on a terminal, json where the output is piped.",
)
@click.option("--watch", is_flag=True, help="Read FILE again whenever it changes; go on until a signal.")
@click.option("-v", "--verbose", is_flag=True, help="Tell details too.")
def run(file: Path, state_dir: Path | None, style: str | None, watch: bool, verbose: bool) -> None:
    """Run every pool of FILE until all have ended, or until Ctrl-C or SIGTERM.

    The first signal drains the pools: no new leases, those in flight may finish within the pool's
    `limits.drain`. A second one kills what still runs. By itself it ends when no pool runs and none can come
    back.

    On SIGHUP, or with --watch when FILE has changed, FILE is read again: pools that are declared differently
    by then are changed, all others are not touched. A SIGHUP because its terminal is gone is a wish to stop.
    """
    try:
        watching = Watch(file) if watch else None
        config = load(file)
        level = logging.DEBUG if verbose else logging.INFO
        where, style = state_dir_of(config, state_dir), style or fitting_format(console())
        code = run_pools(config, where, style, level, watching)
    except ConfigError as error:
        told(error.problems, console(sys.stderr))
        sys.exit(Exit.BAD_CONFIG)
    except StateDirError as error:
        _end_without_state_dir(error)
    except KeyboardInterrupt:  # before there was anything to stop
        sys.exit(BY_SIGNAL + signal.SIGINT)
    sys.exit(code)


@cli.command(epilog=_APPLY_EXAMPLES + EPILOG, short_help="Change the pools that run, as a file says.")
@FILE
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the manager keeps its files, as given to `run`. Without it: as `run` chooses it.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Only say what would be changed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def apply(file: Path, state_dir: Path | None, only_plan: bool, as_json: bool) -> None:
    """Say what FILE would change of the pools that `pool-lifecycle run FILE` runs, then have it changed.

    Only pools that are declared differently by now are touched, each on its own. It returns when all of them
    have become as declared or have failed to, and says which. Ctrl-C ends the waiting, not the changes.
    """
    try:
        config = load(file)
        root = state_dir_of(config, state_dir).absolute()
        with Running(root) as running:
            code = _applied(applying.ask(file, config, root, running), root, running, only_plan, as_json)
    except ConfigError as error:
        told(error.problems, console(sys.stderr))
        sys.exit(Exit.BAD_CONFIG)
    except StateDirError as error:
        _end_without_state_dir(error)
    except NobodyRuns:
        _end(f"no manager runs in {str(root)!r}; begin with `pool-lifecycle run {file}`", Exit.NOT_RUNNING)
    except applying.NotTheOne as error:
        _end(str(error), Exit.NOT_RUNNING)
    except applying.EndedMeanwhile:
        _end("the manager has ended meanwhile", Exit.NOT_APPLIED)
    except KeyboardInterrupt:
        _end("not waited for any more; the manager goes on with it", BY_SIGNAL + signal.SIGINT)
    sys.exit(code)


def _applied(asked: applying.Asked, root: Path, running: Running, only_plan: bool, as_json: bool) -> int:
    to = console()
    if not as_json:
        applying.show_plan(asked, to)
    if not (as_json or only_plan) and to.is_terminal:
        to.print(Text(f"told pid {running.pid}, whose own output says how it goes", "dim"), soft_wrap=True)
    found = None if only_plan else applying.carried_out(asked, root, running)
    code = Exit.OK if found is None else applying.code_of(found)
    if as_json:
        click.echo(applying.as_json(asked, found, ok=code is Exit.OK))
    elif found is not None:
        applying.show_outcome(found, to)
    return code


def _end(what: str, code: int) -> NoReturn:
    console(sys.stderr).print(Text(printable(what), "bold red"), soft_wrap=True)
    sys.exit(code)


@cli.command(epilog=_STAGE_EXAMPLES + EPILOG, short_help="Put a model in place, and say what it is.")
@click.argument("reference")
@click.option("--digest", help="The model's: sha256: and 64 hexadecimal digits. No other is taken.")
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=staging.usual_folder,
    show_default="~/.cache/pool-lifecycle/models",
    help="Where fetched models are kept: the same folder as `manager.models.folder` of the file of pools.",
)
@click.option("--limit", help="How much may be kept there, such as 200GiB.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def stage(reference: str, digest: str | None, cache_dir: Path, limit: str | None, as_json: bool) -> None:
    """Put the model that REFERENCE names in place, or check one that lies on this host; say what it is.

    REFERENCE is as in a file of pools: /models/a.gguf, hf:org/repo@revision::file=a.gguf, https://host/a.gguf.
    A download that was cut short, or interrupted, is gone on with by the next one.
    """
    if digest is not None and (defect := digest_defect(digest)) is not None:
        raise click.BadParameter(defect, param_hint="--digest")
    try:
        wanted = staging.Wanted(Reference.parse(reference), digest, cache_dir, staging.bytes_of(limit))
    except ConfigError as error:
        raise click.BadParameter(error.problems[0].valid, param_hint="REFERENCE") from error
    except ValueError as error:
        raise click.BadParameter("must be a size such as 200GiB", param_hint="--limit") from error
    try:
        sys.exit(staging.run(wanted, as_json=as_json))
    except ConfigError as error:
        told(error.problems, console(sys.stderr))
        sys.exit(Exit.BAD_CONFIG)


def _end_without_state_dir(error: StateDirError | StoreError) -> NoReturn:
    console(sys.stderr).print(Text(f"{printable(str(error))} (--state-dir)", "bold red"), soft_wrap=True)
    sys.exit(Exit.STATE_DIR)


@cli.command(epilog=_SIMULATE_EXAMPLES + EPILOG, short_help="Replay crashes against a configuration.")
@FILE
@click.argument("trace", type=click.Path(path_type=Path))
@click.option(
    "--until",
    type=click.FloatRange(0, WEEK, min_open=True),
    default=WEEK,
    show_default="a week",
    help="Seconds after which it ends although something could still happen.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Fixes the jitter of delays.")
@click.option(
    "--format",
    "style",
    type=click.Choice(("text", "svg", "json")),
    default="text",
    show_default=True,
    help="What is printed: every attempt and a summary, the picture, or everything as one JSON document.",
)
@_OUTPUT
def simulate(*, file: Path, trace: Path, until: float, seed: int, style: str, output: Path | None) -> None:
    """Show what the policies of FILE make of the crashes in TRACE: when each pool would be started again.

    TRACE is JSON lines, {"pool_id": "chat", "uptime_seconds": 3.5, "reason": "cuda"} for one run of an engine
    that ends so; or the output of `pool-lifecycle run --format json` of an earlier time. Nothing is launched,
    and time is virtual: a day takes a second. --output draws the timeline as an SVG besides what is printed.
    docs/simulating.md explains all of it.
    """
    try:
        config = load(file)
        timeline = replay(config, load_trace(trace, [spec.pool_id for spec in config.pools]), seed, until)
    except ConfigError as error:
        told(error.problems, console(sys.stderr))
        sys.exit(Exit.BAD_CONFIG)
    drawing = picture(timeline, f"{trace.name} against {file.name}")
    if output is not None:
        _write(output, drawing)
    said = {"text": as_text, "json": as_json}[style](timeline) if style != "svg" else drawing
    sys.stdout.buffer.write(said.encode())


@cli.command(epilog=_HISTORY_EXAMPLES + EPILOG, short_help="Say what a pool has been through.")
@click.argument("pool_id", metavar="POOL")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where its manager keeps its files; `run` keeps them in FILE's name with the ending .state.",
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many, at most.")
@click.option(
    "--format",
    "style",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="One line for each, or everything as one JSON document.",
)
def history(pool_id: str, state_dir: Path, limit: int, style: str) -> None:
    """Say what POOL has been through, oldest first: when it changed its state, and why.

    A manager may run meanwhile or not; nothing is changed. At least the last thousand changes of each pool
    are kept, also of pools that are not declared any more.
    """
    try:
        found = past.read(state_dir, pool_id, limit)
    except StoreError as error:
        _end_without_state_dir(error)
    except KeyError as error:
        known = printable(", ".join(error.args[0])) or "no pool"
        what = f"nothing is known of {printable(pool_id)!r}; there is a history of {known}"
        raise click.BadParameter(what, param_hint="POOL") from error
    said = past.as_json(pool_id, found) if style == "json" else past.as_text(found)
    sys.stdout.buffer.write(said.encode())


@cli.command(short_help="Draw what a pool or a circuit can do.")
@click.argument("name", type=click.Choice(tuple(DIAGRAMS)), default="lifecycle")
@click.option(
    "--format",
    "style",
    type=click.Choice(("mermaid", "svg")),
    help="Without it: svg for an OUTPUT that ends in .svg, else mermaid.",
)
@_OUTPUT
def diagram(name: str, style: str | None, output: Path | None) -> None:
    """Draw the states and the ways between them, from the tables by which the pools live.

    lifecycle: the life of a pool; reload: how its model is changed; breaker: what a circuit does.
    """
    drawing = DIAGRAMS[name]
    style = style or ("svg" if output is not None and output.suffix == ".svg" else "mermaid")
    content = drawing.svg() if style == "svg" else drawing.mermaid()
    if output is None:
        sys.stdout.buffer.write(content.encode())
    else:
        _write(output, content)


def _write(output: Path, content: str) -> None:
    try:
        output.write_text(content, encoding="utf-8", newline="")
    except OSError as error:
        raise click.BadParameter(f"{output}: {error.strerror}", param_hint="--output") from error
