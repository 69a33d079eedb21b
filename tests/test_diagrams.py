"""The diagrams say what the tables say, and those that are checked in are the ones made now."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pool_lifecycle.breaker import BREAKER
from pool_lifecycle.diagrams import DIAGRAMS, embedded, files, mermaid, svg, write
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState
from pool_lifecycle.table import Kind, Row, State, Table

ROOT = Path(__file__).parent.parent

LAMP = Table(
    name="lamp <1>",
    initial="off",
    rest="off",
    declared=(
        State(
            "off",
            Kind.STABLE,
            rows=(Row("switch", "on.dim", "wanted", when="dark"), Row("switch", None, "no")),
        ),
        State(
            "on.dim",
            Kind.STABLE,
            live=True,
            rows=(Row("switch", "off", "a < b & c"), Row("fall", "off", "oops")),
        ),
    ),
    same_as={"pull": "switch"},
)

REMEDY = "run: python -m pool_lifecycle.diagrams"


@pytest.mark.parametrize("path", sorted(files()))
def test_checked_in_diagrams_are_up_to_date(path: str) -> None:
    """Who changes a table and forgets the diagrams is told how to make them."""
    assert (ROOT / path).read_text(encoding="utf-8") == files()[path], REMEDY


def test_the_readme_has_the_diagrams_of_now() -> None:
    """Blocks between markers are made, not written."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    assert embedded(text) == text, REMEDY


# --- Mermaid ---------------------------------------------------------------------------------------------

LAMP_MERMAID = """\
stateDiagram-v2
    direction LR
    state "on.dim" as on__dim
    [*] --> off
    off --> on__dim: switch [dark]
    on__dim --> off: switch, fall
    %% a serving engine lives, but no lease is granted
    classDef live fill:#fff0c9,stroke:#a87400
    class on__dim live
    %% no engine serves
    classDef rest fill:#eef1f6,stroke:#5b6573
    class off rest
"""

_ARROW = re.compile(r"    (\w+) --> (\w+): (.+)")


def test_mermaid_of_a_small_table() -> None:
    """States, rows that lead away, guards, and colours that mean something."""
    assert mermaid(LAMP) == LAMP_MERMAID


def arrows(text: str) -> dict[tuple[str, str], set[str]]:
    """What a Mermaid text says: for each pair of states the events that lead there."""
    found = [match.groups() for match in map(_ARROW.fullmatch, text.splitlines()) if match]
    return {
        (source.replace("__", "."), target.replace("__", ".")): {
            one.partition(" [")[0] for one in said.split(", ")
        }
        for source, target, said in found
    }


@pytest.mark.parametrize("table", [LIFECYCLE, BREAKER])
def test_mermaid_has_every_row_that_leads_away(table: Table) -> None:
    """And no other; `halt` leads where `stop` leads and is not drawn twice."""
    expected: dict[tuple[str, str], set[str]] = {}
    for (state, event), rows in table.rows.items():
        for row in rows:
            if row.to not in {None, state} and event not in table.same_as:
                expected.setdefault((state, row.to), set()).add(event)
    assert arrows(mermaid(table)) == expected


def test_mermaid_of_some_states_has_the_rows_between_them() -> None:
    """What leads elsewhere is left out."""
    some = arrows(mermaid(LIFECYCLE, [PoolState.READY, PoolState.DRAINING]))
    assert some == {("ready", "draining"): {"drain"}, ("draining", "ready"): {"resume", "start"}}


def test_the_diagrams_together_show_every_state() -> None:
    """No state is without a picture."""
    shown = {name for one in DIAGRAMS.values() for line in one.grid for name in line if name}
    assert shown == set(LIFECYCLE.states) | set(BREAKER.states)


# --- SVG -------------------------------------------------------------------------------------------------


def texts(drawing: str) -> list[str]:
    """Every text in a drawing, once."""
    found = ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")
    return list(dict.fromkeys(one.text or "" for one in found))


def test_svg_names_states_work_and_events() -> None:
    """All that is needed to read it."""
    said = texts(DIAGRAMS["lifecycle"].svg())
    assert {
        "ready",
        "watch",
        "backing_off",
        "back off",
        "gone [stop wanted]",
        "staged, failed",
        "[permit]",
    } <= set(said)


def test_svg_says_what_it_leaves_out() -> None:
    """Rows to states that another diagram shows, and events that share another's rows."""
    (note,) = [one for one in texts(DIAGRAMS["lifecycle"].svg()) if one.startswith("halt")]
    assert note == (
        "halt leads where stop leads · not drawn: reload → reloading.draining · reload → staging_ahead"
        " · reload → surging.staging · resume, start → surging.proving · resume, start → reloading.proving"
        " · resume, start → retiring"
    )


def test_svg_gives_the_reasons() -> None:
    """Where a pointer rests on an arrow stands why it is there."""
    titles = [one.text for one in ET.fromstring(svg(LAMP)).iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["lamp <1>", "switch: wanted", "switch: a < b & c; fall: oops"]


@pytest.mark.parametrize("table", [LAMP, LIFECYCLE, BREAKER])
def test_svg_of_any_table(table: Table) -> None:
    """Without a grid the states stand in the order of the table; it is well-formed, and the same twice."""
    assert set(table.states) <= set(texts(svg(table)))
    assert svg(table) == svg(table)


# --- files -----------------------------------------------------------------------------------------------


def test_blocks_are_renewed_and_nothing_else() -> None:
    """What stands around the markers is the author's."""
    begin, end = "<!-- diagram:breaker -->\n", "<!-- /diagram -->\n"
    text = f"a\n{begin}old\n{end}b\n{begin}{end}"
    made = f"{begin}```mermaid\n{DIAGRAMS['breaker'].mermaid()}```\n{end}"
    assert embedded(text) == f"a\n{made}b\n{made}"
    assert embedded(embedded(text)) == embedded(text)


def test_an_unknown_diagram_is_an_error() -> None:
    """A misspelt marker is not passed over."""
    with pytest.raises(KeyError, match="lifecicle"):
        embedded("<!-- diagram:lifecicle -->\n<!-- /diagram -->")


def test_write_makes_all_files_and_the_readme(tmp_path: Path) -> None:
    """One command renews everything."""
    (tmp_path / "README.md").write_text("<!-- diagram:reload -->\n<!-- /diagram -->", encoding="utf-8")
    write(tmp_path)
    assert {path: (tmp_path / path).read_text(encoding="utf-8") for path in files()} == files()
    assert "stateDiagram-v2" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_write_needs_no_readme(tmp_path: Path) -> None:
    """The diagrams are made without one, and none is made."""
    write(tmp_path)
    assert not (tmp_path / "README.md").exists()
