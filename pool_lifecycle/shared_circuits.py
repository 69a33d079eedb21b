"""The circuits that the pools of a host share: one for each device.

Every pool has a copy in its snapshot, so that its steps stay pure. What one pool's step, or trouble on the
device, makes of such a circuit is so for all at once: the others are woken, and a pool asks for news of its
circuits before every step it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from typing import TypeAlias

from attrs import define, field

from pool_lifecycle import circuits
from pool_lifecycle.breaker import BreakerEvent
from pool_lifecycle.events import Shared
from pool_lifecycle.interfaces import DeviceFault
from pool_lifecycle.kept import KeptHost
from pool_lifecycle.restart.blame import Blame
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.snapshot import CircuitChanged, evolved

Wake: TypeAlias = Callable[[], None]

Moved: TypeAlias = Callable[[str, CircuitChanged, tuple[str, ...]], None]
"""Takes the pool that brought it about, the change, and every pool that has the circuit."""


@define(eq=False)
class _Device:
    """One device's circuit, the pools on it, and when each of them last failed because of it.

    `held_by` has those with something on it that cannot be killed.
    """

    circuit: Circuit
    held_by: set[str] = field(factory=set)
    pools: dict[str, Wake] = field(factory=dict)
    failed_at: dict[str, float] = field(factory=dict)


DRIVER = "the driver"
"""Who brought it about that a circuit changed, where that was no pool."""


def name_of(device: str) -> str:
    """The name of a device's circuit."""
    return f"device {device}"


class SharedCircuits:
    """Those of one host. `clock` is the loop's; `moved` is told once of every change of state.

    `moved_on` is called when there is something else to keep.
    """

    __slots__ = ("_blame", "_clock", "_devices", "_moved", "_moved_on")

    def __init__(
        self,
        blame: Blame,
        clock: Callable[[], float],
        moved: Moved = lambda _by, _change, _pools: None,
        moved_on: Wake = lambda: None,
    ) -> None:
        self._blame = blame
        self._clock = clock
        self._moved = moved
        self._moved_on = moved_on
        self._devices: dict[str, _Device] = {}

    def to_keep(self) -> tuple[tuple[Circuit, ...], tuple[tuple[str, str, float], ...]]:
        """The circuits that are not as at first; and by circuit and pool when that failed last."""
        devices = self._devices.items()
        failed = tuple((name, pool, at) for name, one in devices for pool, at in one.failed_at.items())
        return tuple(one.circuit for _, one in devices if not one.circuit.at_rest), failed

    def restore(
        self,
        kept: KeptHost,
        known: Container[str],
        stuck: Mapping[str, Collection[str]],
        *,
        rebooted: bool = False,
    ) -> None:
        """Go on with what was kept. A trial of a pool that is not `known` has no end: it is free again.

        `stuck` has, by circuit, the pools with something there that cannot be killed. No fault of a device
        is known to have outlived a start of the host.
        """
        now, policy = self._clock(), self._blame.breaker
        for one in kept.circuits:
            orphan = one.holder is not None and one.holder not in known
            news, who = BreakerEvent.ABANDONED, one.holder or ""
            left = circuits.feed(one, news, policy=policy, who=who, now=now) if orphan else one
            self._devices[one.name] = _Device(evolved(left, fault=None if rebooted else left.fault))
        for name, pool_id, at in kept.failed_at:
            device = self._devices.setdefault(name, _Device(Circuit(name, shared=True)))
            device.failed_at[pool_id] = at
        for name in {*self._devices, *stuck}:
            device = self._devices.setdefault(name, _Device(Circuit(name, shared=True)))
            device.held_by.update(stuck.get(name, ()))
            device.circuit = self._quarantined(device, device.circuit.fault)

    def join(self, pool_id: str, devices: Iterable[str], wake: Wake) -> tuple[Circuit, ...]:
        """The circuits of these devices, as they are; `wake` is called when there are `news` of them."""
        joined = []
        for name in map(name_of, devices):
            device = self._devices.setdefault(name, _Device(Circuit(name, shared=True)))
            self._age(device)
            device.pools[pool_id] = wake
            joined.append(device.circuit)
        return tuple(joined)

    def leave(self, pool_id: str) -> None:
        """The pool is no longer there. A device without pools is forgotten once its circuit is closed."""
        for device in self._devices.values():
            device.pools.pop(pool_id, None)
            device.failed_at.pop(pool_id, None)
            device.held_by.discard(pool_id)
        self._devices = {
            name: one for name, one in self._devices.items() if one.pools or not one.circuit.at_rest
        }

    def news(self, mine: Iterable[Circuit]) -> Shared | None:
        """The first of these circuits that is no longer so, as it is now."""
        for one in mine:
            if one.shared and one is not (now := self._devices[one.name].circuit) and one != now:
                return Shared(now)
        return None

    def follow(self, changed: Iterable[Circuit], by: str) -> None:
        """A step of the pool `by` has changed these circuits of its own."""
        for circuit in changed:
            if circuit.shared:
                self._change(circuit, by)

    def failed(self, pool_id: str) -> None:
        """The pool failed in a way that devices make engines fail: with others, it opens their circuit."""
        now = self._clock()
        for device in tuple(self._devices.values()):
            if pool_id in device.pools:
                device.failed_at[pool_id] = now
                self._moved_on()
                if self._blame.lies_with_device(device.failed_at, now):
                    self._change(self._fed(device, BreakerEvent.TRIP), pool_id)

    def hold(self, pool_id: str, *, stuck: bool) -> None:
        """Whether something of the pool cannot be killed: then nobody starts on its devices."""
        for device in tuple(self._devices.values()):
            if pool_id not in device.pools or (pool_id in device.held_by) is stuck:
                continue
            (device.held_by.add if stuck else device.held_by.discard)(pool_id)
            self._change(self._quarantined(device, device.circuit.fault), pool_id)

    def isolate(self, names: Iterable[str], fault: DeviceFault | None) -> tuple[str, ...]:
        """A device, by each of its `names`, has reported a fault, or is well again (None).

        Nobody starts on it meanwhile, nor whoever joins later. Returns the pools that are on it.
        """
        pools: dict[str, None] = {}
        for name in sorted(map(name_of, names)):
            device = self._devices.setdefault(name, _Device(Circuit(name, shared=True)))
            pools.update(dict.fromkeys(device.pools))
            if device.circuit.fault != fault:
                self._change(self._quarantined(device, fault), DRIVER)
            if not device.pools and device.circuit.at_rest:
                del self._devices[name]
        return tuple(pools)

    @property
    def faults(self) -> dict[str, DeviceFault]:
        """What the devices in quarantine have reported, by each name of theirs."""
        circuits = ((name, one.circuit) for name, one in self._devices.items())
        return {name.removeprefix(name_of("")): one.fault for name, one in circuits if one.fault is not None}

    def _quarantined(self, device: _Device, fault: DeviceFault | None) -> Circuit:
        """Its circuit, open without an end while there is a reason."""
        well = fault is None and not device.held_by
        event = BreakerEvent.RELEASE if well else BreakerEvent.QUARANTINE
        return evolved(self._fed(device, event), fault=fault)

    def _fed(self, device: _Device, event: BreakerEvent) -> Circuit:
        policy, now = self._blame.breaker, self._clock()
        return circuits.feed(device.circuit, event, policy=policy, who="the host", now=now)

    def _age(self, device: _Device) -> None:
        """What has come about while nobody was there to look."""
        now, until = self._clock(), device.circuit.until
        if until is not None and until <= now:
            device.circuit = self._fed(device, BreakerEvent.TIMEOUT)

    def _change(self, circuit: Circuit, by: str) -> None:
        device = self._devices[circuit.name]
        before, device.circuit = device.circuit, circuit
        if circuit == before:
            return
        self._moved_on()
        if circuit.state is not before.state:
            self._moved(by, CircuitChanged.between(before, circuit), tuple(device.pools))
        if circuit.holder in device.pools:  # has had its turn: the next time it is asked last
            device.pools[circuit.holder] = device.pools.pop(circuit.holder)
        for wake in tuple(device.pools.values()):
            wake()
