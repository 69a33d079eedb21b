"""Hypothesis strategies for the library's values: every value drawn is valid. Needs `hypothesis`."""

from __future__ import annotations

import string
from typing import Any

from attrs import evolve
from hypothesis import strategies as st

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.spec import STRATEGIES, EngineSpec, HealthSpec, Limits, PoolSpec, ReloadSpec
from pool_lifecycle.testing.memory import EngineScript

WEEK = 7 * 86400.0

_SIGNALS = 64
"""Linux numbers its signals from 1 to 64."""

_words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_names = _words.filter(bool)
_path_words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=20)
_arguments = st.lists(_words, max_size=4).map(tuple)
_pool_ids = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,62}\Z")
_variables = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=12)


def seconds(minimum: float = 0.0, maximum: float = WEEK) -> st.SearchStrategy[float]:
    """Durations in seconds."""
    return st.floats(minimum, maximum, allow_nan=False)


def exit_statuses() -> st.SearchStrategy[ExitStatus]:
    """Exit codes, signals, and the lost status."""
    return st.one_of(
        st.builds(ExitStatus, code=st.integers(0, 255)),
        st.builds(ExitStatus, signal=st.integers(1, _SIGNALS)),
        st.just(ExitStatus()),
    )


def causes() -> st.SearchStrategy[Cause]:
    """Failures of every class, in every stage."""
    return st.builds(
        Cause,
        kind=st.sampled_from(FailureClass),
        stage=st.sampled_from(Stage),
        message=_names,
        heals=st.booleans(),
        remedy=_words,
        exit=st.none() | exit_statuses(),
        evidence=_arguments,
    )


def backoffs() -> st.SearchStrategy[Backoff]:
    """Back-off policies: `minimum` and `initial` never above `maximum`."""
    return st.builds(
        lambda times, factor, jitter, stable: Backoff(
            initial=times[0],
            minimum=times[1],
            maximum=max(times),
            factor=factor,
            jitter=jitter,
            stable=stable,
        ),
        st.tuples(seconds(), seconds(), seconds()),
        factor=st.floats(1.0, 100.0),
        jitter=st.floats(0.0, 1.0),
        stable=seconds(0.001),
    )


def breakers() -> st.SearchStrategy[Breaker]:
    """Circuit breaker policies: `timeout` never above `timeout_max`."""
    return st.builds(
        lambda threshold, timeouts, stable: Breaker(threshold, min(timeouts), max(timeouts), stable),
        st.integers(1, 1000),
        st.tuples(seconds(0.001), seconds(0.001)),
        seconds(0.001),
    )


def limits() -> st.SearchStrategy[Limits]:
    """Time limits: `start` never above `start_hard`."""
    positive = seconds(0.001)
    loose = st.builds(
        Limits,
        staging=positive,
        start=st.just(0.001),
        stall=positive,
        drain=seconds(),
        stop_grace=seconds(),
        reclaim=positive,
        memory_wait=positive,
        proving=seconds(),
    )
    starts = st.tuples(positive, positive)
    return st.builds(lambda one, two: evolve(one, start=min(two), start_hard=max(two)), loose, starts)


def reload_specs() -> st.SearchStrategy[ReloadSpec]:
    """Ways to change a model."""
    return st.builds(
        ReloadSpec,
        strategy=st.sampled_from(STRATEGIES),
        otherwise=st.none() | st.sampled_from(STRATEGIES[:2]),
    )


def engine_specs() -> st.SearchStrategy[EngineSpec]:
    """Engines, of any binary and arguments."""
    return st.builds(
        EngineSpec,
        binary=_names,
        args=_arguments,
        env=st.dictionaries(_variables, _words, max_size=3),
        env_passthrough=st.lists(_variables, max_size=3).map(tuple),
        cwd=st.none() | _names,
        port=st.none() | st.integers(1, 65535),
        version=st.none() | _names,
        exit_zero=st.sampled_from((None, "graceful", "crash")),
    )


def health_specs() -> st.SearchStrategy[HealthSpec]:
    """Ways to find out whether an engine is, and still is, ready."""
    paths = st.none() | _path_words.map("/".__add__)
    common: dict[str, Any] = {
        "path": paths,
        "timeout": seconds(0.001),
        "interval": seconds(0.25),
        "failures": st.integers(1, 1000),
        "warm_up": paths,
    }
    others = st.builds(
        HealthSpec, probe=st.sampled_from(("http", "tcp", "memory")), command=_arguments, **common
    )
    commands = st.builds(lambda program, rest: (program, *rest), _names, _arguments)
    return others | st.builds(HealthSpec, probe=st.just("command"), command=commands, **common)


_digests = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:".__add__)
_device_masks = st.sets(st.integers(0, 7), min_size=1).map(lambda numbers: ",".join(map(str, numbers)))


def pool_specs() -> st.SearchStrategy[PoolSpec]:
    """Pools with any engine, health check, limits and policies; drivers are named, never made."""
    return st.builds(
        PoolSpec,
        pool_id=_pool_ids,
        engine=engine_specs(),
        model=st.none() | _names,
        digest=st.none() | _digests,
        slots=st.integers(1, 65536),
        device_mask=st.none() | _device_masks,
        replica_id=_names,
        health=health_specs(),
        limits=limits(),
        backoff=backoffs(),
        breaker=breakers(),
        reload=reload_specs(),
        launcher=st.sampled_from(("local", "memory")),
        stager=st.sampled_from((None, "file", "memory")),
    )


def engine_scripts() -> st.SearchStrategy[EngineScript]:
    """Engines of every temper, for `MemoryLauncher`; times up to ten minutes."""
    times = seconds(maximum=600.0)
    return st.builds(
        EngineScript,
        ready_after=st.none() | times,
        exits_after=st.none() | times,
        exit=exit_statuses(),
        ignores_term=st.booleans(),
        term_takes=times,
        term_exit=exit_statuses(),
        unkillable=st.booleans(),
        launch_takes=times,
        launch_error=st.none() | causes(),
        output=st.lists(st.tuples(times, st.integers(0, 2**20)), max_size=4).map(tuple),
        preflight=st.lists(causes(), max_size=2).map(tuple),
    )
