"""Who may start on which devices: one at a time on each, in the order in which they asked.

Whoever starts on several devices gets them all at once, so that no two ever wait for each other; and whoever
waits keeps those out who came later and want one of the same devices, so that nobody waits for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from attrs import define, field


@define(eq=False)
class _Asker:
    """Waits for devices, in the name of `who`."""

    who: str
    devices: frozenset[str]
    free: asyncio.Future[None]


@define(eq=False)
class DeviceTurns:
    """Devices by any name that tells them apart. Whoever is asked for twice at once holds what came last."""

    _held: dict[str, frozenset[str]] = field(factory=dict, init=False)
    _waiting: list[_Asker] = field(factory=list, init=False)

    async def take(self, who: str, devices: Iterable[str]) -> None:
        """Return once nobody else starts on these devices. Cancelled meanwhile, it has asked for nothing."""
        wanted = frozenset(devices)
        if self._held.get(who) == wanted:
            return
        self.give_back(who)
        if not self._in_the_way(wanted, self._waiting):
            self._held[who] = wanted
            return
        asker = _Asker(who, wanted, asyncio.get_running_loop().create_future())
        self._waiting.append(asker)
        try:
            await asker.free
        except asyncio.CancelledError:
            if asker.free.done() and not asker.free.cancelled():
                self.give_back(who)
            else:
                self._waiting.remove(asker)
                self._let_in()
            raise

    def keep(self, who: str, devices: Iterable[str]) -> None:
        """Hold these devices from now on, whoever holds them: something is on them that should not be."""
        self._held[who] = frozenset(devices)

    def give_back(self, who: str) -> None:
        """Whatever `who` holds is free for others; nothing where it holds nothing."""
        if self._held.pop(who, None) is not None:
            self._let_in()

    def holders(self, devices: Iterable[str], *, but: str = "") -> tuple[str, ...]:
        """Who holds one of these, or waits for one, in the order of their turns."""
        wanted, held = frozenset(devices), self._held.items()
        waiting = ((one.who, one.devices) for one in self._waiting)
        return tuple(who for who, theirs in (*held, *waiting) if theirs & wanted and who != but)

    def _in_the_way(self, wanted: frozenset[str], earlier: Iterable[_Asker]) -> bool:
        return any(theirs & wanted for theirs in self._held.values()) or any(
            one.devices & wanted for one in earlier
        )

    def _let_in(self) -> None:
        """Everybody whose devices are free by now, and not wanted by somebody before."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            gives_up = one.free.cancelled()  # and is about to say so
            if gives_up or self._in_the_way(one.devices, self._waiting):
                self._waiting.append(one)
            else:
                self._held[one.who] = one.devices
                one.free.set_result(None)
