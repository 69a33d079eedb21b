"""Diagrams of the tables: Mermaid text and SVG. Run it to write those that are checked in.

`python -m pool_lifecycle.diagrams [FOLDER]` writes `docs/*.svg` and `docs/*.mmd` under FOLDER (here, unless
given) and renews the blocks of README.md that stand between `<!-- diagram:NAME -->` and `<!-- /diagram -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from attrs import frozen

from pool_lifecycle.breaker import BREAKER
from pool_lifecycle.drawing import Arrow, Node, draw
from pool_lifecycle.lifecycle import LIFECYCLE
from pool_lifecycle.table import Kind, Row, State, Table

Grid = tuple[tuple[str | None, ...], ...]
"""Rows of columns of state names; None is an empty place."""


@frozen
class Diagram:
    """Some states of a table, and where they are drawn."""

    table: Table
    grid: Grid

    def mermaid(self) -> str:
        """As Mermaid text."""
        return mermaid(self.table, _names(self.grid))

    def svg(self) -> str:
        """As a drawing."""
        return svg(self.table, self.grid)


def _grid(text: str) -> Grid:
    return tuple(
        tuple(None if name == "." else name for name in line.split()) for line in text.strip().splitlines()
    )


DIAGRAMS = {
    "lifecycle": Diagram(LIFECYCLE, _grid("""
        stopped   staging      starting   ready       draining   stopping
        failed    backing_off  .          recovering  .          stuck
    """)),
    "reload": Diagram(LIFECYCLE, _grid("""
        .       surging.staging     surging.starting     surging.proving     .
        .       .                   .                    retiring            .
        ready   reloading.draining  reloading.staging    reloading.stopping  reloading.starting
        .       staging_ahead       reloading.restoring  reloading.undoing   reloading.proving
    """)),
    "breaker": Diagram(BREAKER, _grid("""
        closed  open
        trial   half_open
    """)),
}  # fmt: skip
"""The diagrams that are checked in, by name."""


def mermaid(table: Table, states: Collection[str] | None = None) -> str:
    """A Mermaid state diagram of `table`, or of some of its `states` and the rows between them."""
    names = list(table.states) if states is None else [name for name in table.states if name in states]
    lines = ["stateDiagram-v2", "    direction LR"]
    lines += [f'    state "{name}" as {_id(name)}' for name in names if _id(name) != name]
    lines += [f"    [*] --> {_id(table.initial)}"] if table.initial in names else []
    for source in names:
        for target, labels in _ways(table, source).items():
            if target in names:
                lines.append(f"    {_id(source)} --> {_id(target)}: {', '.join(labels)}")
    return "\n".join([*lines, *_styles(table, names)]) + "\n"


def _styles(table: Table, names: list[str]) -> Iterator[str]:
    """The colours of states that are told apart by them."""
    looks = [_look(table.states[name]) for name in names]
    for look, (what, style) in _STYLES.items() if len(set(looks)) > 1 else ():
        alike = [_id(name) for name, its in zip(names, looks, strict=True) if its == look]
        if alike:
            yield from (
                f"    %% {what}",
                f"    classDef {look} {style}",
                f"    class {','.join(alike)} {look}",
            )


def svg(table: Table, grid: Grid | None = None) -> str:
    """A drawing of `table`, or of the states in `grid`. The same table always makes the same drawing."""
    grid = _squared(table) if grid is None else grid
    places = {
        name: (column, row) for row, line in enumerate(grid) for column, name in enumerate(line) if name
    }
    nodes = [_node(table.states[name], *place) for name, place in places.items()]
    arrows, elsewhere = [], dict[str, list[str]]()
    for source in places:
        for target, labels in _ways(table, source).items():
            if target in places:
                arrows.append(Arrow(source, target, labels, _reasons(table, source, target)))
            else:
                elsewhere.setdefault(target, []).extend(labels)
    return draw(table.name, nodes, arrows, table.initial, _captions(table, elsewhere))


def _squared(table: Table) -> Grid:
    """The states in the order in which they are declared, in rows of five."""
    names = list(table.states)
    return tuple(tuple(names[first : first + 5]) for first in range(0, len(names), 5))


def _names(grid: Grid) -> set[str]:
    return {name for line in grid for name in line if name}


# --- what is said ----------------------------------------------------------------------------------------


def _rows_out(table: Table, source: str) -> Iterator[tuple[str, Row]]:
    """The rows that lead away, with where to; not those that only repeat another event's."""
    for row in table.states[source].rows:
        if row.to is not None and row.to != source and row.event not in table.same_as:
            yield row.to, row


def _ways(table: Table, source: str) -> dict[str, tuple[str, ...]]:
    """For each state that `source` leads to, the events that lead there, each with its guard if it is one."""
    guards: dict[str, dict[str, list[str | None]]] = {}
    for target, row in _rows_out(table, source):
        guards.setdefault(target, {}).setdefault(row.event, []).append(row.when)
    return {
        target: tuple(_label(event, when) for event, when in events.items())
        for target, events in guards.items()
    }


def _label(event: str, guards: list[str | None]) -> str:
    return f"{event} [{guards[0]}]" if len(guards) == 1 and guards[0] else str(event)


def _reasons(table: Table, source: str, target: str) -> str:
    rows = [row for to, row in _rows_out(table, source) if to == target]
    return "; ".join(f"{row.event}: {row.why}" for row in rows)


def _captions(table: Table, elsewhere: dict[str, list[str]]) -> list[str]:
    """What the drawing leaves out."""
    same = [f"{event} leads where {model} leads" for event, model in table.same_as.items()]
    away = [f"{', '.join(_events(labels))} → {target}" for target, labels in elsewhere.items()]
    return [*same, f"not drawn: {away[0]}", *away[1:]] if away else same


def _events(labels: list[str]) -> list[str]:
    return list(dict.fromkeys(label.partition(" [")[0] for label in labels))


# --- how it looks ----------------------------------------------------------------------------------------

_STYLES = {
    "serving": ("leases are granted", "fill:#d9f2df,stroke:#2a8c4a"),
    "live": ("a serving engine lives, but no lease is granted", "fill:#fff0c9,stroke:#a87400"),
    "rest": ("no engine serves", "fill:#eef1f6,stroke:#5b6573"),
}


def _look(state: State) -> str:
    return "serving" if state.serving else "live" if state.live else "rest"


def _node(state: State, column: int, row: int) -> Node:
    work = state.activity.replace("_", " ") if state.activity else ""
    return Node(state.name, column, row, _look(state), work, lasting=state.kind is Kind.STABLE)


def _id(name: str) -> str:
    """Mermaid takes a dot in a name for something else."""
    return name.replace(".", "__")


# --- files -----------------------------------------------------------------------------------------------

_BLOCK = re.compile(r"(<!-- diagram:(\w+) -->\n).*?(<!-- /diagram -->)", re.DOTALL)


def files() -> dict[str, str]:
    """Every file that is checked in, by its path, with what it should say."""
    made = {f"docs/{name}.svg": diagram.svg() for name, diagram in DIAGRAMS.items()}
    return made | {f"docs/{name}.mmd": diagram.mermaid() for name, diagram in DIAGRAMS.items()}


def embedded(text: str) -> str:
    """`text` with its diagram blocks renewed. Raises KeyError for a diagram that there is not."""

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}```mermaid\n{DIAGRAMS[match[2]].mermaid()}```\n{match[3]}"

    return _BLOCK.sub(block, text)


def write(root: Path) -> None:
    """Write every diagram under `root`, and into its README."""
    for path, text in files().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    readme = root / "README.md"
    if readme.exists():
        readme.write_text(embedded(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
