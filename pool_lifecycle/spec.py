"""What a pool is declared to be: frozen values, each checked when it is made.

Durations are in seconds. Every wrong field is reported at once, in a ConfigError that names the key and
says what would be valid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

from attrs import asdict, field, frozen

from pool_lifecycle.checks import (
    a,
    check_all,
    check_order,
    checked,
    flag,
    one_of,
    optional,
    pool_id,
    seconds,
    text,
    text_pairs,
    texts,
    url_path,
    whole,
)
from pool_lifecycle.devices import devices_of, mask_defect
from pool_lifecycle.errors import ConfigError, Problem
from pool_lifecycle.events import Target
from pool_lifecycle.placement.split import ratios_defect
from pool_lifecycle.placement.versions import cuda_defect
from pool_lifecycle.redaction import shown_arguments
from pool_lifecycle.references import digest_defect, reference_defect
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.restart.classes import ClassPolicies
from pool_lifecycle.restart.window import Window


def _tuple(value: object) -> Any:
    """Lists become tuples, so that a spec is hashable; anything else is left for the check to refuse."""
    return tuple(value) if isinstance(value, list) else value


def _pairs(value: object) -> Any:
    """A mapping becomes sorted pairs, so that a spec is hashable."""
    return tuple(sorted(value.items(), key=repr)) if isinstance(value, Mapping) else value


def _split_defect(value: object) -> str | None:
    return None if value == () else ratios_defect(value)


@frozen
class EngineSpec:
    """The program that serves the model, and how it is run.

    `profile` names the engine profile that turns this into a command line. `binary` is a path, or a name
    looked up on PATH. `args` come after what the profile adds. The engine's environment is built from
    nothing: a short allow-list, the names in `env_passthrough` from the manager's own environment, and
    `env`. `port` None means a free port is chosen at each launch. `memory` is what the engine needs of
    the host's, in bytes: no start is tried with less available; `device_memory` is what it needs on each of
    its devices. `split` is how its model is spread over several of them: a share of 1 for each, in the order
    of the mask, or nothing, which leaves it to the engine. `cuda` is the version of CUDA that it was made
    for ("12.4"): a driver that is too old for it is told of. `exit_zero` says what exit code 0 of a healthy
    engine means; None leaves it to the profile.
    """

    binary: str = field(metadata=checked(text("a path or a program's name")))
    profile: str = field(default="generic", metadata=checked(text("a profile's name")))
    args: tuple[str, ...] = field(
        default=(), converter=_tuple, repr=shown_arguments, metadata=checked(texts("arguments"))
    )
    env: tuple[tuple[str, str], ...] = field(
        default=(), converter=_pairs, repr=False, metadata=checked(text_pairs("environment variables"))
    )
    env_passthrough: tuple[str, ...] = field(
        default=(), converter=_tuple, metadata=checked(texts("names of environment variables"))
    )
    cwd: str | None = field(default=None, metadata=checked(optional(text("a folder"))))
    host: str = field(default="127.0.0.1", metadata=checked(text("an address to bind")))
    port: int | None = field(default=None, metadata=checked(optional(whole(1, 65535))))
    version: str | None = field(default=None, metadata=checked(optional(text("the engine's version"))))
    memory: int | None = field(default=None, metadata=checked(optional(whole(1, 2**60))))
    device_memory: int | None = field(default=None, metadata=checked(optional(whole(1, 2**60))))
    split: tuple[float, ...] = field(default=(), converter=_tuple, metadata=checked(_split_defect))
    cuda: str | None = field(default=None, metadata=checked(optional(cuda_defect)))
    exit_zero: str | None = field(default=None, metadata=checked(optional(one_of(("graceful", "crash")))))

    def __attrs_post_init__(self) -> None:
        check_all(self)


@frozen
class HealthSpec:
    """How it is found out that an engine is ready, and that it still is.

    `probe` names the health probe. `path` is for HTTP (None: the profile's own), `command` for the command
    probe, which needs one. `timeout` bounds one whole probe. `warm_up` is a path that must succeed once after
    the first healthy answer, before the pool is ready. An engine that serves is probed every `interval`, but
    not before the last probe is over; so many `failures` in a row are a crash. Where its profile knows a
    counter of work, an engine that gets on with its work may be silent, and one that has not got on with it
    for `stall` counts as hanging, whatever it answers.
    """

    probe: str = field(default="http", metadata=checked(text("a health probe's name")))
    path: str | None = field(default=None, metadata=checked(optional(url_path)))
    command: tuple[str, ...] = field(default=(), converter=_tuple, metadata=checked(texts("arguments")))
    timeout: float = field(default=10.0, metadata=checked(seconds(0.001)))
    interval: float = field(default=10.0, metadata=checked(seconds(0.25)))
    failures: int = field(default=3, metadata=checked(whole(1, 1000)))
    stall: float = field(default=300.0, metadata=checked(seconds(0.001)))
    warm_up: str | None = field(default=None, metadata=checked(optional(url_path)))

    def __attrs_post_init__(self) -> None:
        check_all(self)
        if self.probe == "command" and not any(self.command[:1]):
            valid = "must begin with a program when the probe is 'command'"
            raise ConfigError([Problem("command", self.command, valid)])


@frozen
class Limits:
    """How long each part of a pool's life may last, in seconds.

    `staging`: from the first byte to a model in place. `start`: from launch to ready. Both are extended by
    progress (bytes of the model, output of the engine, no older than `stall`) up to `start_hard`. `drain`:
    used when a drain names no deadline. `stop_grace`: from SIGTERM to SIGKILL. `reclaim`: from SIGKILL until
    what is left counts as stuck. `memory_wait`: how long a start may wait for memory of its devices until it
    fails; a restart after a want of it waits as long before that. `proving`: how long a new model has to
    serve until the pool is committed to it; if it fails before, the old one comes back.
    """

    staging: float = field(default=120.0, metadata=checked(seconds(0.001)))
    start: float = field(default=120.0, metadata=checked(seconds(0.001)))
    start_hard: float = field(default=1800.0, metadata=checked(seconds(0.001)))
    stall: float = field(default=60.0, metadata=checked(seconds(0.001)))
    drain: float = field(default=30.0, metadata=checked(seconds()))
    stop_grace: float = field(default=5.0, metadata=checked(seconds()))
    reclaim: float = field(default=30.0, metadata=checked(seconds(0.001)))
    memory_wait: float = field(default=60.0, metadata=checked(seconds(0.001)))
    proving: float = field(default=5.0, metadata=checked(seconds()))

    def __attrs_post_init__(self) -> None:
        check_all(self)
        check_order(self, "start", larger="start_hard")


@frozen
class Models:
    """Where fetched models are kept: under `folder` (None: in the state directory), at most `limit` bytes.

    A `limit` of None leaves it to the disk.
    """

    folder: str | None = field(default=None, metadata=checked(optional(text("a folder"))))
    limit: int | None = field(default=None, metadata=checked(optional(whole(1, 2**60))))

    def __attrs_post_init__(self) -> None:
        check_all(self)


NO_PROBE = "none"
"""The driver of those who look at no GPU."""

STRATEGIES = ("drain_first", "stage_first", "surge")


@frozen
class ReloadSpec:
    """How a model is changed where nobody says otherwise.

    `drain_first`: end the work in flight, put the new model in place, stop the old engine, start the new one.
    `stage_first`: the same, but the model is put in place while the old engine still serves. `surge`: start
    the new engine beside the old one, which needs room for both; `otherwise` is what to do where there is
    none (None: refuse).
    """

    strategy: str = field(default="drain_first", metadata=checked(one_of(STRATEGIES)))
    otherwise: str | None = field(default=None, metadata=checked(optional(one_of(STRATEGIES[:2]))))

    def __attrs_post_init__(self) -> None:
        check_all(self)


@frozen
class PoolSpec:
    """One pool: one engine with a number of slots, under one name.

    `model` is a model reference for the stager (`file:/models/a.gguf`), or None for an engine that needs
    none. `device_mask` is what the engine may see (`"0,1"`, `"GPU-<uuid>"`); None means unrestricted.
    `gpu_only`: rather than run on the CPU it does not start where no GPU can be used; None: if it names GPUs.
    `gpu_probe` names the driver that looks at GPUs; None: "nvml" where there is something to look for, which
    is the GPUs that it names, or its engine's `device_memory`, unless `gpu_only` is False.
    `digest` is that of the model (`sha256:…`): no other is taken. `launcher`, `stager` (None: whichever the
    reference asks for) name drivers. `backoff`, `breaker`, `window` and `classes` say what
    becomes of it after a failure, `reload` how its model is changed. `on_manager_exit`: what becomes of its
    engine when its manager ends, also when that is killed: "stop" it, or "keep" it running for the next
    manager to adopt.
    """

    pool_id: str = field(metadata=checked(pool_id))
    engine: EngineSpec = field(metadata=checked(a(EngineSpec)))
    model: str | None = field(default=None, metadata=checked(optional(reference_defect)))
    digest: str | None = field(default=None, metadata=checked(optional(digest_defect)))
    slots: int = field(default=1, metadata=checked(whole(1, 65536)))
    device_mask: str | None = field(default=None, metadata=checked(optional(mask_defect)))
    replica_id: str = field(default="0", metadata=checked(text("a replica's name")))
    health: HealthSpec = field(default=HealthSpec(), metadata=checked(a(HealthSpec)))
    limits: Limits = field(default=Limits(), metadata=checked(a(Limits)))
    backoff: Backoff = field(default=Backoff(), metadata=checked(a(Backoff)))
    breaker: Breaker = field(default=Breaker(), metadata=checked(a(Breaker)))
    window: Window = field(default=Window(), metadata=checked(a(Window)))
    classes: ClassPolicies = field(default=ClassPolicies(), metadata=checked(a(ClassPolicies)))
    reload: ReloadSpec = field(default=ReloadSpec(), metadata=checked(a(ReloadSpec)))
    launcher: str = field(default="local", metadata=checked(text("a launcher's name")))
    stager: str | None = field(default=None, metadata=checked(optional(text("a stager's name"))))
    gpu_only: bool | None = field(default=None, metadata=checked(optional(flag)))
    gpu_probe: str | None = field(default=None, metadata=checked(optional(text("a GPU probe's name"))))
    on_manager_exit: str = field(default="stop", metadata=checked(one_of(("stop", "keep"))))

    def __attrs_post_init__(self) -> None:
        check_all(self)
        if self.engine.split and self.device_mask and len(self.engine.split) != len(self.devices):
            valid = "must have one share for each device in device_mask"
            raise ConfigError([Problem("engine.split", self.engine.split, valid)])

    @property
    def on_gpus(self) -> bool:
        """Whether it must not run without a GPU."""
        return self.device_mask is not None if self.gpu_only is None else self.gpu_only

    @property
    def probe(self) -> str:
        """The GPU probe that it is looked after with."""
        looked_at = self.on_gpus or (self.gpu_only is None and self.engine.device_memory is not None)
        return self.gpu_probe or ("nvml" if looked_at else NO_PROBE)

    @property
    def devices(self) -> frozenset[str]:
        """The devices it names; none when it is not restricted to any."""
        return frozenset() if self.device_mask is None else devices_of(self.device_mask)

    @property
    def target(self) -> Target:
        """What its engine is to be launched for."""
        return _target(self.model, self.digest, self.variant)

    @cached_property
    def variant(self) -> str:
        """A short name for what an engine is launched with beside its model: equal for equal declarations."""
        return _variant(self.engine, self.slots)


_target = lru_cache(maxsize=1024)(Target)
"""Pools with the same model and engine share one value."""

NEEDS = frozenset(("memory", "device_memory", "cuda", "exit_zero"))
"""What is declared of an engine that a launched one knows nothing of."""


@lru_cache(maxsize=1024)
def _variant(engine: EngineSpec, slots: int) -> str:
    """One string for all pools of the same kind. A hash, as arguments and environments may hold secrets."""
    launched = (value for name, value in asdict(engine, recurse=False).items() if name not in NEEDS)
    declared = repr((*launched, slots)).encode()
    return hashlib.blake2b(declared, digest_size=8).hexdigest()
