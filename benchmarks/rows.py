"""What a benchmark says: one row, with the peer that was measured in the same run."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import asdict, frozen
from rich.console import Console
from rich.table import Table


@frozen
class Row:
    """`ratio` is value / peer_value, None without a peer. `goal` says in words what `met` was decided by."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float | None
    ratio: float | None
    goal: str
    met: bool

    @classmethod
    def against(cls, name: str, value: float, unit: str, peer: str, peer_value: float, *, most: float) -> Row:
        """Met when the value is at most `most` times the peer's."""
        ratio = value / peer_value
        return cls(name, value, unit, peer, peer_value, ratio, f"<= {most:g} x", ratio <= most)

    @classmethod
    def faster(cls, name: str, value: float, unit: str, peer: str, peer_value: float, *, least: float) -> Row:
        """Met when the peer takes at least `least` times as long."""
        ratio = value / peer_value
        return cls(name, value, unit, peer, peer_value, ratio, f">= {least:g} x faster", ratio <= 1 / least)

    @classmethod
    def within(cls, name: str, value: float, unit: str, most: float, *, peer: str, peer_value: float) -> Row:
        """Met when the value is at most `most`; the peer is shown beside it."""
        ratio = value / peer_value if peer_value else None
        return cls(name, value, unit, peer, peer_value, ratio, f"<= {most:.3g} {unit}", value <= most)


def each_in_turn(
    contenders: dict[str, Callable[[], object]], *, number: int, rounds: int = 9
) -> dict[str, float]:
    """Seconds per call of each contender: the median of `rounds`, taken in turns so that noise is shared."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            began = time.perf_counter()
            for _ in range(number):
                call()
            times[name].append((time.perf_counter() - began) / number)
    return {name: statistics.median(taken) for name, taken in times.items()}


def show(rows: Iterable[Row], console: Console) -> None:
    """The table, for people."""
    table = Table(title="Side by side with peers, measured in this run", title_justify="left")
    for title, justify in (
        ("benchmark", "left"), ("value", "right"), ("peer", "left"), ("peer's", "right"),
        ("ratio", "right"), ("goal", "left"), ("met", "left"),
    ):  # fmt: skip
        table.add_column(title, justify="right" if justify == "right" else "left")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.value:.3g} {row.unit}",
            row.peer,
            "" if row.peer_value is None else f"{row.peer_value:.3g} {row.unit}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.goal,
            "[green]yes[/green]" if row.met else "[red]no[/red]",
        )
    console.print(table)


def write(rows: Iterable[Row], path: Path) -> None:
    """The rows as JSON, for programs."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
