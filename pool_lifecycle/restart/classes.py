"""What a failure means by its class: whether to try again, how long to wait, which circuit counts it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from attrs import evolve, field, frozen

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.checks import a, check_all, checked, flag, number, optional, text
from pool_lifecycle.errors import ConfigError, Problem

F = FailureClass

GENERAL = "general"
"""The circuit that counts every class without one of its own."""


@frozen
class Treatment:
    """How one class is treated.

    `retry`: whether it is tried again; None leaves that to what is known of the single failure. `counted`:
    whether it lengthens the back-off and counts for a circuit; what is not counted is tried again without
    delay, within the window and the host's budget. `multiplier` is that of the back-off delay. `circuit` is
    the name of the one that counts it. `awaits_memory`: a restart waits until its devices have the memory
    that the pool declares. `blames_device`: several pools failing so on one device open that device's
    circuit. `ends_trial`: a trial that ends so has failed, whether that counts otherwise or not. `remedy` is
    said instead of what the failure itself says would help.
    """

    retry: bool | None = None
    counted: bool = True
    multiplier: float = 1.0
    circuit: str = GENERAL
    awaits_memory: bool = False
    blames_device: bool = False
    ends_trial: bool = True
    remedy: str = ""


_NOT_THE_ENGINES = Treatment(counted=False, ends_trial=False)
"""Endings that say nothing about the engine."""

TREATMENTS: dict[FailureClass, Treatment] = {
    F.GRACEFUL: Treatment(),  # an engine that should run on: as any other exit
    F.EXIT: Treatment(),
    F.SIGNAL: Treatment(),
    F.OUT_OF_MEMORY: Treatment(),
    F.DEVICE_OUT_OF_MEMORY: Treatment(awaits_memory=True),
    F.CUDA: Treatment(multiplier=2.0, circuit=str(F.CUDA), blames_device=True),  # B-SUPER-017, B-SUPER-02A
    F.DEVICE_LOST: Treatment(multiplier=4.0, blames_device=True),
    F.HANG: Treatment(),
    F.HEALTH: Treatment(),
    F.PORT_IN_USE: Treatment(counted=False),  # the next launch is on another port
    F.BAD_CONFIG: Treatment(retry=False),
    F.START_TIMEOUT: Treatment(),
    F.STAGING: Treatment(),
    F.PREFLIGHT: Treatment(),
    F.UNKNOWN: Treatment(),
    F.KILLED_BY_OPERATOR: _NOT_THE_ENGINES,
    F.MANAGER_EXIT: _NOT_THE_ENGINES,
    F.HOST_RESTART: _NOT_THE_ENGINES,
}
"""The defaults, by class."""

_FIXED_PORT = Treatment(remedy="end the program that holds the port, or leave `port` out")
"""A port that was declared cannot be exchanged for another, so the clash counts like any failure."""


@frozen
class ClassPolicy:
    """What a pool says about one class; None leaves it as is the default for that class.

    `retry`, `counted`, `multiplier` and `remedy` are those of Treatment; `own_circuit` gives the class a
    circuit of its own, or takes it away.
    """

    retry: bool | None = field(default=None, metadata=checked(optional(flag)))
    counted: bool | None = field(default=None, metadata=checked(optional(flag)))
    multiplier: float | None = field(default=None, metadata=checked(optional(number(0.01, 1000.0, "times"))))
    own_circuit: bool | None = field(default=None, metadata=checked(optional(flag)))
    remedy: str | None = field(default=None, metadata=checked(optional(text("what would help"))))

    def __attrs_post_init__(self) -> None:
        check_all(self)
        problems = [
            Problem(key, value, f"must be left out, as {denied} is false: that leaves nothing for it to mean")
            for denied in ("retry", "counted")
            if getattr(self, denied) is False
            for key in ("multiplier", "own_circuit")
            if (value := getattr(self, key)) not in {None, False}
        ]
        if problems:
            raise ConfigError(problems)


_AS_USUAL = ClassPolicy()
_VALID = checked(a(ClassPolicy))


@frozen(cache_hash=True)
class ClassPolicies:
    """What a pool says about each class. The classes that nothing can be said about are not the engine's."""

    exit: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    signal: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    out_of_memory: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    device_out_of_memory: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    cuda: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    device_lost: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    hang: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    health: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    port_in_use: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    bad_config: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    start_timeout: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    staging: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    preflight: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)
    unknown: ClassPolicy = field(default=_AS_USUAL, metadata=_VALID)

    def __attrs_post_init__(self) -> None:
        check_all(self)


@lru_cache(maxsize=1024)
def treatment(kind: FailureClass, policies: ClassPolicies, *, fixed_port: bool) -> Treatment:
    """How `kind` is treated in a pool with these policies. `fixed_port`: its port was declared."""
    default = TREATMENTS[kind]
    if fixed_port and kind is F.PORT_IN_USE:
        default = _FIXED_PORT
    said: ClassPolicy = getattr(policies, kind, ClassPolicy())
    changes: dict[str, Any] = {
        name: value
        for name in ("retry", "counted", "multiplier", "remedy")
        if (value := getattr(said, name)) is not None
    }
    if said.own_circuit is not None:
        changes["circuit"] = str(kind) if said.own_circuit else GENERAL
    return evolve(default, **changes)


@lru_cache(maxsize=256)
def circuit_names(policies: ClassPolicies) -> tuple[str, ...]:
    """The circuits of a pool with these policies: the general one, and those of single classes."""
    own = {treatment(kind, policies, fixed_port=False).circuit for kind in FailureClass}
    return (GENERAL, *sorted(own - {GENERAL}))
