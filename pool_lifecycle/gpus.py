"""What the pools of a host share of its GPUs: looks at them, who starts on them, what was left on them.

Of every launch is remembered what its devices were like before, and which processes are its own, so that it
can be told afterwards whether the memory that it took has come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from attrs import define, evolve, field, frozen

from pool_lifecycle.cancelling import heed
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.device_turns import DeviceTurns
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Device, DeviceProcess, DriverTelling, Engine, GpuProbe
from pool_lifecycle.placement.masks import names_of, resolve
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.placement.reclaim import Baseline, Residue, residues
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.promises import expected
from pool_lifecycle.spec import NO_PROBE, PoolSpec

T = TypeVar("T")

Call = Callable[[], Awaitable[Iterable[object]]]
"""One of a probe's verbs."""

LOOK = 2.0
"""Seconds between two looks: memory comes back within seconds of a process's end."""


async def asked(probe: str, call: Call, kind: type[T], verb: str) -> tuple[T, ...]:
    """What a probe answers. Raises DriverError whatever it does wrong, so that nobody relies on it."""
    try:
        return tuple(expected(kind, one, verb) for one in await call())
    except DriverError:
        raise
    except Exception as error:
        what = f"the GPU probe does not keep its promises: {error!r}"
        raise DriverError(probe, Cause(FailureClass.UNKNOWN, Stage.RUN, what)) from error


@frozen
class Look:
    """The GPUs of a host as they were at one time, and who held their memory."""

    devices: tuple[Device, ...] = ()
    processes: tuple[DeviceProcess, ...] = ()

    def of(self, spec: PoolSpec) -> tuple[Device, ...]:
        """Those that the pool may use: all that can be, where it names none."""
        if spec.device_mask is None:
            return tuple(one for one in self.devices if not one.partitioned)
        return resolve(spec.device_mask, self.devices).devices


@frozen
class _Launched:
    """One launch on devices: what they were like before, and which processes are its own."""

    pool_id: str
    baseline: Baseline | None = None
    pids: frozenset[int] = frozenset()


@define(eq=False)
class Gpus:
    """Those of one host. `trouble` is told, with the pool's id, what could not be found out."""

    drivers: Drivers
    trouble: Callable[[str, str], None]
    policy: DevicePolicy = field(factory=DevicePolicy)
    turns: DeviceTurns = field(factory=DeviceTurns, init=False)
    _launched: dict[str, _Launched] = field(factory=dict, init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)
    _used: set[str] = field(factory=set, init=False)
    _met: set[str] = field(factory=set, init=False)

    def probe(self, name: str) -> GpuProbe:
        """A probe, by its name."""
        self._used.add(name)
        return self.drivers.gpu_probe(name)

    async def look(self, name: str) -> Look:
        """The devices as they are now. Raises DriverError when they cannot be looked at."""
        probe = self.probe(name)
        look = Look(
            *await asyncio.gather(
                asked(name, probe.devices, Device, "devices"),
                asked(name, probe.processes, DeviceProcess, "processes"),
            )
        )
        self._met.update(*map(names_of, look.devices))
        return look

    def has_seen(self, names: Iterable[str]) -> bool:
        """Whether each of these devices has been there in some look."""
        return self._met.issuperset(names)

    async def seen(self, spec: PoolSpec) -> Look | None:
        """The same for a pool; None where it has no probe, or that fails, which is told."""
        if spec.probe == NO_PROBE:
            return None
        try:
            return await self.look(spec.probe)
        except DriverError as error:
            self.trouble(spec.pool_id, f"its devices cannot be looked at: {error.cause.message}")
            return None

    # --- what a launch takes ---------------------------------------------------------------------------

    async def before(self, spec: PoolSpec, token: str) -> None:
        """Remember what the devices are like just before a launch."""
        if (look := await self.seen(spec)) is not None:
            self._launched[token] = _Launched(spec.pool_id, Baseline.of(look.devices, look.processes))

    async def know(self, spec: PoolSpec, token: str, engine: Engine) -> None:
        """Remember which processes belong to a launch, while they live."""
        if spec.probe == NO_PROBE:
            return
        try:
            pids = frozenset((await engine.inspect()).pids)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises: it serves all the same
            self.trouble(spec.pool_id, f"its processes are not known: {error!r}")
            return
        known = self._launched.get(token) or _Launched(spec.pool_id)
        if known.baseline is None and (look := await self.seen(spec)) is not None:
            known = evolve(known, baseline=Baseline.of(look.devices, look.processes))
        self._launched[token] = evolve(known, pids=known.pids | pids)

    def forget(self, token: str) -> None:
        """Nothing of that launch is left."""
        self._launched.pop(token, None)

    @property
    def pool_of(self) -> dict[int, str]:
        """Whose the processes are that are known, by pid."""
        return {pid: one.pool_id for one in self._launched.values() for pid in one.pids}

    def held_by(self, pool_id: str, look: Look) -> dict[str, int]:
        """By device, the bytes that the pool's engines hold, also where their processes are not told."""
        held: dict[str, int] = {}
        for one in self._launched.values():
            if one.pool_id == pool_id and one.baseline is not None:
                for left in residues(one.baseline, look.devices, look.processes, tree=one.pids):
                    held[left.uuid] = held.get(left.uuid, 0) + left.memory
        return held

    # --- what it gives back ----------------------------------------------------------------------------

    async def left_of(self, spec: PoolSpec, token: str) -> tuple[Residue, ...]:
        """What an ended launch still holds of the devices' memory; nothing where nobody can know."""
        known = self._launched.get(token)
        if known is None or known.baseline is None or (look := await self.seen(spec)) is None:
            return ()
        mine = frozenset(one.uuid for one in look.of(spec))
        left = residues(known.baseline, look.devices, look.processes, tree=known.pids)
        return tuple(one for one in left if one.uuid in mine)

    def reserve(self, spec: PoolSpec, token: str, left: Iterable[Residue]) -> None:
        """Let nobody start on the devices where memory is `left` of a launch, until it is back."""
        holder = f"memory of {spec.pool_id} that is not given back"
        self.turns.keep(holder, (one.uuid for one in left))
        task = asyncio.get_running_loop().create_task(self._until_back(spec, token, holder))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_back(self, spec: PoolSpec, token: str, holder: str) -> None:
        try:
            while await self.left_of(spec, token):
                await asyncio.sleep(LOOK)
                heed()
        finally:
            self.turns.give_back(holder)
            self.forget(token)

    # --- the end ---------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End what is under way here, and what the probes keep going."""
        for task in (tasks := tuple(self._tasks)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for name in self._used:
            probe = self.drivers.gpu_probe(name)
            if isinstance(probe, DriverTelling):
                await probe.close()
