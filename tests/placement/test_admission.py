"""Whether the memory of devices suffices, and how it is told where it does not."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.interfaces import Device, DeviceProcess
from pool_lifecycle.placement.admission import SHOWN, Shortfall, User, Wanted, shortfall

GIB = 2**30
MIB = 2**20
DEVICE = Device(0, "GPU-0", "a GPU", 80 * GIB, 3 * GIB)


def of(
    *wanted: Wanted,
    processes: tuple[DeviceProcess, ...] = (),
    reserve: int = 0,
    pools: dict[int, str] | None = None,
) -> Shortfall | None:
    return shortfall(wanted, processes, reserve=reserve, pool_of=pools or {})


def test_memory_that_suffices_to_the_byte_suffices() -> None:
    """B-GPU-x3: less the reserve; a byte more is too much, and then it is one byte that is missing."""
    assert of(Wanted(DEVICE, 2 * GIB), reserve=GIB) is None
    short = of(Wanted(DEVICE, 2 * GIB + 1), reserve=GIB)
    assert short is not None
    assert short.missing == 1


def test_a_refusal_says_all_that_one_has_to_know() -> None:
    """B-GPU-x3: what is free and kept, what is missing, and who has the rest, with pid and bytes."""
    processes = (
        DeviceProcess("GPU-0", 4711, 2 * GIB),
        DeviceProcess("GPU-0", 12, 10 * GIB),
        DeviceProcess("GPU-0", 13, None),
        DeviceProcess("GPU-1", 14, 20 * GIB),
    )
    told = str(of(Wanted(DEVICE, 8 * GIB), processes=processes, reserve=256 * MIB, pools={12: "chat"}))
    assert told == (
        "device 0 has 3.0 GiB free, of which 256 MiB are kept in reserve: "
        f"5.2 GiB ({5 * GIB + 256 * MIB} bytes) too few of 8.0 GiB; in use by "
        f"pool chat (pid 12) with 10.0 GiB ({10 * GIB} bytes), "
        f"pid 4711 with 2.0 GiB ({2 * GIB} bytes), pid 13"
    )


def test_an_idle_device_is_told_simply() -> None:
    """Nothing is said of a reserve or users that there are not."""
    assert str(of(Wanted(DEVICE, 4 * GIB))) == (
        f"device 0 has 3.0 GiB free: 1.0 GiB ({GIB} bytes) too few of 4.0 GiB"
    )


def test_only_the_largest_users_are_named() -> None:
    """The message is bounded, however many processes there are."""
    processes = tuple(DeviceProcess("GPU-0", pid, pid * GIB) for pid in range(1, SHOWN + 3))
    told = str(of(Wanted(DEVICE, 4 * GIB), processes=processes))
    assert told.count("pid ") == SHOWN
    assert f"in use by pid {SHOWN + 2} with" in told
    assert told.endswith(", and 2 others")


def test_a_device_that_is_unwell_is_refused_whatever_is_wanted() -> None:
    """B-GPU-x2: and comes before any that is merely full."""
    lost = evolve(DEVICE, index=1, uuid="GPU-1", memory_total=0, memory_free=0, unwell="GPU is lost")
    assert str(of(Wanted(DEVICE, 70 * GIB), Wanted(lost, 0))) == "device 1 cannot be used: GPU is lost"


def test_who_wants_nothing_lacks_nothing() -> None:
    """A device of ratio 0 may be full beyond the reserve."""
    assert of(Wanted(evolve(DEVICE, memory_free=0), 0), reserve=GIB) is None
    assert of() is None


def test_a_user_is_told_by_what_is_known_of_it() -> None:
    """A stranger, or the pool."""
    assert str(User(7, None)) == "pid 7"
    assert str(User(7, None, "chat")) == "pool chat (pid 7)"
    assert str(User(7, GIB, "chat")) == f"pool chat (pid 7) with 1.0 GiB ({GIB} bytes)"


BYTES = st.integers(0, 2**50)
WANTED = st.lists(
    st.builds(
        lambda number, free, memory: Wanted(Device(number, f"GPU-{number}", "", 2**51, free), memory),
        st.integers(0, 7),
        BYTES,
        BYTES,
    ),
    max_size=8,
)


@given(WANTED, BYTES)
def test_nothing_is_refused_that_fits_and_nothing_let_in_that_does_not(
    wanted: list[Wanted], kept: int
) -> None:
    """B-GPU-x3: for any devices; the one that lacks most is told, and so many more would do."""
    short = shortfall(wanted, (), reserve=kept, pool_of={})
    lacks = [one.memory + kept - one.device.memory_free for one in wanted if one.memory]
    if short is None:
        assert all(missing <= 0 for missing in lacks)
        return
    assert short.missing == max(lacks) > 0
    freed = [
        Wanted(evolve(one.device, memory_free=one.device.memory_free + short.missing), one.memory)
        for one in wanted
    ]
    assert shortfall(freed, (), reserve=kept, pool_of={}) is None
