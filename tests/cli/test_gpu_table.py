"""What people are shown of GPUs."""

from __future__ import annotations

import io
import itertools

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pool_lifecycle.cli.gpu_table import FULL_NAMES, NARROW, Seen, picture, shortened
from pool_lifecycle.interfaces import Device, DeviceProcess, DriverVersions

GB = 2**30
FIRST = Device(
    0,
    "GPU-5a1c6d2e-1b2c-4d5e-8f90-a1b2c3d4e5f0",
    "NVIDIA H100 80GB HBM3",
    80 * GB,
    9 * GB,
    utilisation=97.0,
    temperature=64.0,
    power=412.3,
    ecc=0,
)
LOST = Device(1, "GPU-7", "NVIDIA H100 80GB HBM3", 0, 0, unwell="GPU is lost\x1b[2J")
CUT = Device(2, "GPU-9a1c6d2e-1b2c-4d5e-8f90-a1b2c3d4e5f0", "A100", 40 * GB, 20 * GB, partitioned=True)
PART = Device(2, "MIG-1a1c6d2e-1b2c-4d5e-8f90-a1b2c3d4e5f0", "A100 1g.5gb", 5 * GB, 4 * GB, parent=CUT.uuid)
DEVICES = (FIRST, LOST, CUT, PART)
PROCESSES = (
    DeviceProcess(PART.uuid, 99, None),
    DeviceProcess(FIRST.uuid, 4711, GB),
    DeviceProcess(FIRST.uuid, 4712, 70 * GB),
    DeviceProcess("GPU-elsewhere", 5, GB),
)
SEEN = Seen(
    DEVICES, PROCESSES, DriverVersions("550.54.15", (12, 4)), {4712: "llama-server", 4711: "[red]x\x1b"}
)

WIDTHS = (60, 72, NARROW - 1, NARROW, FULL_NAMES - 1, FULL_NAMES, 120, 200)


def shown(seen: Seen, width: int, *, encoding: str = "utf-8") -> str:
    """What a terminal of that width shows."""
    to = Console(
        file=io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace"),
        width=width,
        highlight=False,
    )
    to.print(picture(seen, width))
    to.file.flush()
    return to.file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("width", WIDTHS)
def test_everything_fits_and_steers_no_terminal(width: int) -> None:
    """At any width every fact is there, in lines that are not longer."""
    text = shown(SEEN, width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    words = " ".join(text.split())
    assert "3 GPUs, 1 MIG instance, driver 550.54.15, CUDA 12.4" in words
    for part in (
        "71.0 of 80.0 GiB",
        "97 %",
        "64 °C",
        "412 W",
        "cannot be used:",
        "lost\\x1b[2J",
        "└ MIG",
        "A100 1g.5gb",
    ):
        assert part in words
    for part in ("cut into", "4712 llama-server 70.0 GiB", "[red]x\\x1b", "2 MIG-1a1c6d2e… 99 - -"):
        assert part in words


@pytest.mark.parametrize("width", WIDTHS)
def test_a_name_is_cut_only_where_there_is_no_room(width: int) -> None:
    """A uuid is what a mask is written with."""
    assert (FIRST.uuid in shown(SEEN, width)) == (width >= FULL_NAMES)


@pytest.mark.parametrize("width", WIDTHS)
def test_instances_stand_below_their_parent_and_users_by_what_they_have(width: int) -> None:
    """In the order of the devices; of users of one, the largest comes first; strangers' devices last."""
    text = shown(SEEN, width)
    in_order = ("NVIDIA H100", "GPU-7", "GPU-9a1c", "MIG-1a1c", "4712", "4711", " 99 ", "GPU-elsewhere")
    places = [text.index(part) for part in in_order]
    assert places == sorted(places)


def test_the_bar_is_as_long_as_memory_is_full() -> None:
    """Also without colour, and where there is nothing but ASCII."""
    for encoding, full, rest in (("utf-8", "━", "┄"), ("ascii", "#", ".")):
        for free, share in ((80 * GB, 0.0), (20 * GB, 0.75), (0, 1.0)):
            text = shown(Seen((evolve(FIRST, memory_free=free, name="x"),)), 120, encoding=encoding)
            (line,) = [one for one in text.splitlines() if full in one or rest * 9 in one]
            filled, left = line.count(full), line.count(rest)
            assert abs(filled / (filled + left) - share) < 0.02, line


def test_what_is_not_known_is_not_made_up() -> None:
    """No driver version, no numbers, no processes: nothing is said of them, and no `None`."""
    bare = Device(0, "GPU-1", "T4", 16 * GB, 16 * GB)
    for width in WIDTHS:
        text = shown(Seen((bare,)), width)
        assert text.startswith("1 GPU\n") or text.split("\n")[0].strip() == "1 GPU"
        assert "No process is seen" in text
        for part in ("None", "driver", "°C", "%"):
            assert part not in text


def test_errors_of_memory_are_seen() -> None:
    """Those that were not corrected."""
    for width in WIDTHS:
        assert "31337" in shown(Seen((evolve(FIRST, ecc=31337),)), width)


@given(
    st.lists(
        st.one_of(
            st.uuids().map(lambda one: f"GPU-{one}"),
            st.text("01", max_size=3).map(lambda end: f"GPU-5a1c6d2e-1b2c-4d5e-8f90-a1b2c3d4{end:>04}"),
            st.text("ab", max_size=20),
        ),
        unique=True,
    )
)
def test_shortened_names_tell_devices_apart(uuids: list[str]) -> None:
    """However alike they are."""
    short = shortened(uuids)
    assert list(short) == uuids
    assert len(set(short.values())) == len(uuids)
    for one, other in itertools.permutations(uuids, 2):
        assert not (short[one] == other and one != other)


def test_a_short_name_is_a_beginning() -> None:
    """With its end where another one begins the same."""
    twins = [FIRST.uuid, FIRST.uuid[:-1] + "1"]
    assert [*shortened([FIRST.uuid, "MIG-2"]).values()] == ["GPU-5a1c6d2e…", "MIG-2"]
    assert [*shortened(twins).values()] == ["GPU-5a1c6d2e…e5f0", "GPU-5a1c6d2e…e5f1"]
