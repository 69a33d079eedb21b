"""How strongly an engine's processes are held together here: by a cgroup of their own, else by their session.

    containment = Containment()
    leaf = containment.leaf(token)     # None: the session has to do
    print(containment.capability())

A tier is in force where the host lets us use it, which is found out by trying. A refusal concerns no
engine: it is launched all the same, one tier below, and what was refused is told by `capability`.
"""

from __future__ import annotations

import enum
import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from functools import partial

from pool_lifecycle.interfaces import Capability
from pool_lifecycle_drivers import subreaper
from pool_lifecycle_drivers.cgroups import V2, Hierarchies
from pool_lifecycle_drivers.enclosing import Enclosing
from pool_lifecycle_drivers.leaf import Leaf
from pool_lifecycle_drivers.leftovers import Leftovers

PREFIX = "pool-lifecycle."
"""How the names of our cgroups begin; the launch token follows."""

TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""The tokens that can be part of a folder's name."""


class Tier(enum.StrEnum):
    """What holds an engine's processes together, the strongest first.

    Of a cgroup nobody escapes unless somebody moves him out. A subreaper is given every orphan of its
    children, so that nobody gets away unseen; but it changes the whole program, whose orphans it has to
    reap. A session is left by `setsid`: who does so is found by his descent, or by the token in his
    environment; who has cut off both is told as a suspect where he still holds the engine's output.
    """

    CGROUP_V2 = "cgroup v2"
    CGROUP_V1 = "cgroup v1"
    SUBREAPER = "subreaper"
    SESSION = "session"


AUTO = (Tier.CGROUP_V2, Tier.CGROUP_V1)
"""The tiers that are tried before the session, which needs nothing."""

V1_CONTROLLERS = ("pids", "freezer")
"""In whose hierarchy one of version 1 is made; the first's keep whoever is being killed from forking."""

PASSING = frozenset({errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC})
"""Errors that say nothing about the next launch."""

DELEGATE = (
    "let this program have the cgroup it is in: `Delegate=yes` in its systemd unit, "
    "or a writable /sys/fs/cgroup in its container"
)


class Containment:
    """The tiers that a launcher may use, best first, and which one the host allows it.

    `parent` is the folder of the cgroup below which the engines' are made, instead of the one we are in.
    """

    def __init__(
        self, tiers: Iterable[str] = AUTO, *, parent: str | None = None, proc: str = "/proc"
    ) -> None:
        self._tiers = tuple(Tier(tier) for tier in tiers)
        self._parent = parent
        self._hierarchies = Hierarchies(proc)
        self._refusals: dict[str, str] = {}
        self._subreaper: str | None = None
        self._trouble = ""
        self._enclosing = Enclosing()
        self._leftovers = Leftovers()
        self._swept: set[str] = set()

    def leaf(self, token: str) -> Leaf | None:
        """The cgroup for a launch, yet to be made; None where there can be none."""
        place = self._place()
        if place is None or not TOKEN.fullmatch(token):
            return None
        tier, parent = place
        return self._leaf(tier, parent, token)

    @property
    def floor(self) -> str:
        """What holds a launch together that gets no cgroup. May make this program a subreaper."""
        if Tier.SUBREAPER not in self._tiers:
            return Tier.SESSION.value
        if self._subreaper is None:
            self._subreaper = subreaper.become()
        return Tier.SESSION.value if self._subreaper else Tier.SUBREAPER.value

    def recovered(self, folder: str, token: str) -> Leaf | None:
        """The cgroup that was made for an earlier launch, in this folder. None where that cannot be so."""
        parent, name = os.path.split(folder)
        tier = _tier(parent)
        ours = bool(TOKEN.fullmatch(token)) and name == PREFIX + token
        return self._leaf(tier, parent, token) if tier is not None and ours else None

    def capability(self) -> Capability:
        """What a launch gets here and now, and why nothing better."""
        place = self._place()
        tier = Tier(self.floor) if place is None or self._trouble else place[0]
        if tier is Tier.CGROUP_V2:
            return Capability("containment", tier.value)
        why = self._trouble or "; ".join(self._reasons()) or "nothing else is wanted"
        best = min((*self._tiers, Tier.SESSION), key=list(Tier).index)
        if best is tier:
            return Capability("containment", tier.value, why)
        return Capability("containment", tier.value, why, best.value, DELEGATE if best in AUTO else "")

    def _leaf(self, tier: Tier, parent: str, token: str) -> Leaf:
        folder = os.path.join(parent, PREFIX + token)
        return Leaf(folder, tier.value, self._enclosing, self._leftovers, partial(self._told, parent))

    def _told(self, parent: str, error: OSError | None) -> None:
        """What became of a launch: it is in its cgroup, or could not be put there."""
        reason = "" if error is None else f"{parent}: {error.strerror}"
        passes = error is None or error.errno in PASSING
        self._trouble = reason if passes else ""
        if not passes:
            self._refusals[parent] = reason
        elif parent not in self._swept:
            self._swept.add(parent)
            self._leftovers.sweep(parent, PREFIX)

    def _place(self) -> tuple[Tier, str] | None:
        """The first place that has not been refused."""
        return next((place for place in self._places() if not self._refusal(place[1])), None)

    def _reasons(self) -> Iterator[str]:
        """Why not in these places, each with its tier."""
        found = {tier: self._refusal(parent) for tier, parent in self._places()}
        found[Tier.SUBREAPER] = self._subreaper or ""
        for tier in self._tiers:
            if reason := found.get(tier, "no hierarchy of it is mounted here that can be used"):
                yield f"{tier}: {reason}"

    def _places(self) -> Iterator[tuple[Tier, str]]:
        """Where a leaf can be looked for: below the cgroup we are in at this moment, or the wanted one."""
        if self._parent is not None:
            places = [(_tier(self._parent), self._parent)]
        else:
            names = self._hierarchies.names("self")
            wanted = [(Tier.CGROUP_V2, V2), *((Tier.CGROUP_V1, one) for one in V1_CONTROLLERS)]
            places = [(tier, self._folder(names, controller)) for tier, controller in wanted]
        for tier, parent in places:
            if tier in self._tiers and parent:
                yield tier, parent

    def _folder(self, names: dict[str, str], controller: str) -> str:
        name = names.get(controller)
        return "" if name is None else self._hierarchies.folder(controller, name) or ""

    def _refusal(self, parent: str) -> str:
        """Why no leaf can be made there; empty when it can. Tried once."""
        if parent not in self._refusals:
            self._refusals[parent] = _try(parent)
        return self._refusals[parent]


def _tier(parent: str) -> Tier | None:
    """Of which version the cgroup in this folder is."""
    if os.path.exists(f"{parent}/cgroup.controllers"):
        return Tier.CGROUP_V2
    return Tier.CGROUP_V1 if os.path.exists(f"{parent}/cgroup.procs") else None


def _try(parent: str) -> str:
    """Make a cgroup and remove it. Whoever moves processes has to be let into the common parent too."""
    if _tier(parent) is None:
        return f"{parent}: not a cgroup"
    trial = os.path.join(parent, f"{PREFIX}trial-{secrets.token_hex(8)}")
    try:
        os.mkdir(trial, 0o755)
        os.rmdir(trial)
    except OSError as error:
        return f"{parent}: {error.strerror}"
    return "" if os.access(f"{parent}/cgroup.procs", os.W_OK) else f"{parent}: nobody can be moved from here"
