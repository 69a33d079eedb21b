"""How the pools are, at a glance, while they run: a table at the foot of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pool_lifecycle.cli.words import NARROW, printable
from pool_lifecycle.lease import Blocker
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.status import PoolStatus
from pool_lifecycle.wording import plural, seconds

S = PoolState

INTERVAL = 0.25
"""Seconds between two looks at the pools."""

MARGIN = 4
"""Columns left free, or the `^C` that a terminal shows would break the line and the table its place."""

NAMED = 3
"""How many holders of leases are named."""

_STYLES: dict[PoolState, str] = {
    S.STOPPED: "dim",
    S.READY: "green",
    S.DRAINING: "yellow",
    S.RECOVERING: "red",
    S.BACKING_OFF: "yellow",
    S.FAILED: "bold red",
    S.STUCK: "bold red",
}
"""The others are on their way, in cyan."""


class Screen:
    """The table, kept up to date. Lines printed to the console meanwhile appear above it."""

    def __init__(self, console: Console, look: Callable[[], Iterable[PoolStatus]]) -> None:
        self._look = look
        self._console = console
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.refresh()
            self._live.stop()
        except OSError:  # the terminal is gone
            return

    def refresh(self) -> None:
        """Look again. Raises OSError when the terminal is gone."""
        self._live.update(table(self._look(), self._console.width), refresh=True)


def table(pools: Iterable[PoolStatus], width: int) -> Table:
    """How the pools are, in a table for a terminal of `width` columns; a narrow one gets less."""
    wide = width >= NARROW
    found = Table(width=width - MARGIN if wide else None)
    found.add_column("pool", style="bold", overflow="fold")
    found.add_column("state", no_wrap=wide)
    if wide:
        found.add_column("for", justify="right", no_wrap=True)
        found.add_column("slots", justify="right", no_wrap=True)
    found.add_column("now", ratio=1 if wide else None, overflow="fold")
    for status in pools:
        state = Text(status.state, _STYLES.get(status.state, "cyan"))
        extra = (Text(seconds(status.since)), Text(f"{len(status.leases)}/{status.slots}")) if wide else ()
        found.add_row(Text(status.pool_id), state, *extra, _now(status))
    return found


def _now(status: PoolStatus) -> RenderableType:
    """What happens at the moment, below a bar of how far its model is, if one is on its way."""
    words, share = Text(printable(now(status))), status.staging.share if status.staging else None
    if share is None:
        return words
    both = Table.grid(expand=True)
    both.add_row(ProgressBar(total=1.0, completed=share))
    both.add_row(words)
    return both


def now(status: PoolStatus) -> str:
    """What happens at the moment: what is waited for, how long yet, what went wrong last."""
    return "; ".join(part for part in _parts(status) if part)


def _parts(status: PoolStatus) -> Iterable[str]:
    if status.draining:
        yield _blockers(status.leases)
    elif status.ready:
        yield status.url or ""
    elif status.staging is None:
        yield "" if status.observed in status.next else status.observed
    if status.staging is not None:
        yield f"staging: {status.staging}"
    elif status.next:
        yield status.next
    elif status.deadline_in is not None and not status.ready:
        yield f"{seconds(status.deadline_in)} left"
    if status.last_error and not status.ready:
        yield status.last_error


def _blockers(leases: tuple[Blocker, ...]) -> str:
    if not leases:
        return ""
    named = ", ".join(f"{one.holder} ({seconds(one.age)})" for one in leases[:NAMED])
    more = f" and {len(leases) - NAMED} more" if len(leases) > NAMED else ""
    return f"waits for {plural(len(leases), 'lease')}: {named}{more}"
