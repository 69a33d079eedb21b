"""What is in force here, said by drivers and by the library."""

from __future__ import annotations

import asyncio
import selectors
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle import capabilities
from pool_lifecycle.blocking import BlockingManager
from pool_lifecycle.boot import Boot
from pool_lifecycle.errors import ManagerClosed
from pool_lifecycle.interfaces import Capability
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.store import MemoryStore, Store
from pool_lifecycle.testing.memory import MemoryGpuProbe, MemoryLauncher
from tests.worlds import a_spec

HELD = Capability("containment", "session", "no cgroup is ours", "cgroup v2", "delegate one")
BOOT = Boot("b", "b")


class Able(MemoryLauncher):
    """Says what it was told to."""

    def __init__(self, said: Any = (HELD,)) -> None:
        super().__init__()
        self.said = said

    def capabilities(self) -> tuple[Capability, ...]:
        if isinstance(self.said, Exception):
            raise self.said
        answer: tuple[Capability, ...] = self.said
        return answer


class AbleProbe(MemoryGpuProbe):
    """One that looks at real devices."""

    def capabilities(self) -> tuple[Capability, ...]:
        return (Capability("GPU probe", "NVML 12"),)


class AbleStore(MemoryStore):
    """One that knows better."""

    def capabilities(self) -> tuple[Capability, ...]:
        return (Capability("store", "in memory, for now", "the disk is full", "a file", "make room"),)


def told(
    *specs: PoolSpec,
    launchers: dict[str, Any] | None = None,
    probes: dict[str, Any] | None = None,
    boot: Boot = BOOT,
    store: Store | None = None,
    selector: selectors.BaseSelector | None = None,
) -> dict[str, Capability]:
    """What is said, by name; each name once."""
    given: dict[Interface, dict[str, Any]] = {Interface.LAUNCHER: launchers or {"memory": MemoryLauncher()}}
    if probes:
        given[Interface.GPU_PROBE] = probes
    loop = asyncio.SelectorEventLoop(selector)
    try:
        found = capabilities.of(Drivers(given), specs, loop=loop, boot=boot, store=store)
    finally:
        loop.close()
    names = [one.name for one in found]
    assert len(set(names)) == len(names)
    return dict(zip(names, found, strict=True))


def test_drivers_say_what_the_host_allows_them() -> None:
    """As they say it; those that no pool names are not asked."""
    found = told(a_spec(), launchers={"memory": Able(), "other": Able(RuntimeError("asked"))})
    assert found["containment"] == HELD
    assert set(found) == {"containment", "GPU probe", "clock", "forks"}


def test_without_pools_the_usual_drivers_are_asked() -> None:
    """Those that a spec names when it says nothing."""
    assert told(launchers={"local": Able()})["containment"] == HELD
    assert told(launchers={"local": Able()})["GPU probe"].in_force == "none"


def test_of_several_drivers_each_answer_names_its_own() -> None:
    """Two launchers in one manager."""
    other = a_spec("other", launcher="second")
    found = told(a_spec(), other, launchers={"memory": Able(), "second": Able()})
    assert {"memory: containment", "second: containment"} <= set(found)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (RuntimeError("broken"), "could not be asked for: RuntimeError('broken')"),
        (("nonsense",), "could not be asked for: TypeError"),
    ],
)
def test_a_driver_that_fails_at_it_is_told(said: object, why: str) -> None:
    """A broken promise is no reason to say nothing of the others."""
    found = told(a_spec(), launchers={"memory": Able(said)})
    assert why in found["launcher"].why
    assert "clock" in found


def test_a_driver_that_does_not_say_and_one_that_is_not_there_are_told() -> None:
    """The second with the names that there are."""
    assert "does not say" in told(a_spec())["launcher"].why
    missing = told(a_spec(launcher="absent"))["launcher"]
    assert missing.in_force == "none"
    assert "must be one of 'local', 'memory'" in missing.why


def test_what_looks_at_gpus_is_told() -> None:
    """By itself, by name, or that nothing does; another is only advised where one is installed."""
    probes: dict[str, Any] = {"nvml": AbleProbe(), "mine": MemoryGpuProbe()}
    assert told(a_spec(gpu_probe="nvml"), probes=probes)["GPU probe"] == Capability("GPU probe", "NVML 12")
    assert told(a_spec(gpu_probe="mine"), probes=probes)["GPU probe"] == Capability("GPU probe", "mine")
    none = told(a_spec(), probes=probes)["GPU probe"]
    assert (none.in_force, none.better) == ("none", "mine, nvml")
    assert "'mine' or 'nvml'" in none.remedy


def test_nothing_is_advised_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe of memory looks at no real device."""
    monkeypatch.setattr(Drivers, "names", lambda *_: ("memory", "none"))
    none = told(a_spec())["GPU probe"]
    assert (none.better, none.remedy) == ("", "")


def test_a_loop_with_a_clock_of_its_own_is_told() -> None:
    """Its times mean nothing to a later manager."""
    assert told(a_spec())["clock"].better == ""
    own = told(a_spec(), boot=Boot("b", "b: a loop's own"))["clock"]
    assert "wall clock" in own.in_force
    assert own.remedy


@pytest.mark.parametrize("selector", [selectors.EpollSelector, selectors.SelectSelector])
def test_a_forked_child_is_told_to_be_harmless(selector: type[selectors.BaseSelector]) -> None:
    """Its copy of the loop can be parted from ours, or shares nothing with it."""
    assert told(a_spec(), selector=selector())["forks"].better == ""


def test_a_loop_of_which_a_forked_child_must_beware_is_told() -> None:
    """Of another kind, whose copy cannot be parted from ours."""

    strange: Any = type("Strange", (), {})()
    (found,) = (one for one in capabilities.of(Drivers(), (), loop=strange, boot=BOOT) if one.name == "forks")
    assert "Strange" in found.why
    assert "os._exit" in found.remedy


def test_where_things_are_kept_is_told() -> None:
    """In memory, in a file, by whom, or as the store says."""

    class Own:
        pass

    assert told(a_spec(), store=MemoryStore())["store"].better == "a file"
    assert told(a_spec(), store=AbleStore())["store"].in_force == "in memory, for now"
    own: Any = Own()
    assert told(a_spec(), store=own)["store"] == Capability("store", "Own")
    own.path = "/x/state.db"
    assert told(a_spec(), store=own)["store"] == Capability("store", "/x/state.db")
    assert "store" not in told(a_spec())


def test_a_manager_says_it_of_its_pools_drivers_and_its_store(tmp_path: Path) -> None:
    """Closed, it says nothing any more; the blocking one says the same."""
    drivers = Drivers({Interface.LAUNCHER: {"local": Able()}})

    async def main() -> tuple[Capability, ...]:
        async with PoolManager(tmp_path, drivers=drivers, store=MemoryStore()) as manager:
            found = manager.capabilities()
        with pytest.raises(ManagerClosed):
            manager.capabilities()
        return found

    found = asyncio.run(main())
    assert HELD in found
    assert {"containment", "GPU probe", "clock", "forks", "store"} == {one.name for one in found}
    assert next(one for one in found if one.name == "clock").better == ""
    with BlockingManager(tmp_path, drivers=drivers, store=MemoryStore()) as manager:
        assert manager.capabilities() == found
