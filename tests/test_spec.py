"""What a pool is declared to be: valid values pass, and every wrong one is named, all at once."""

from __future__ import annotations

import math
import re
from typing import Any

import attrs
import pytest
from hypothesis import given

from pool_lifecycle.errors import ConfigError
from pool_lifecycle.events import Target
from pool_lifecycle.interfaces import Command
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.spec import NEEDS, EngineSpec, HealthSpec, Limits, Models, PoolSpec, ReloadSpec
from pool_lifecycle.testing.strategies import pool_specs

ENGINE = EngineSpec("llama-server")

MINIMAL: dict[type, dict[str, Any]] = {
    EngineSpec: {"binary": "llama-server"},
    HealthSpec: {},
    Limits: {},
    Models: {},
    ReloadSpec: {},
    PoolSpec: {"pool_id": "chat", "engine": ENGINE},
}

TEXT = ["", "a\0b", 5, b"x", ["x"]]
PATHS = [*TEXT, "health", "http://h/x", "/a b", "/a\r\nX: 1", "/a\tb", "/\x7f", "/\N{NO-BREAK SPACE}"]
TEXTS = ["one string", ["a", 1], ("a\0",), 5, {"a": "b"}]
SHA256 = "sha256:" + "0123456789abcdef" * 4
DIGESTS = [SHA256[7:], SHA256.upper(), SHA256[:-1], f"{SHA256}0", f"{SHA256}\n", f"md5:{SHA256[7:39]}"]
POSITIVE = [0, -1.0, math.nan, math.inf, True, "1", None, 10**400]
NOT_NEGATIVE = [value for value in POSITIVE if value != 0]

HOSTILE: dict[type, dict[str, list[Any]]] = {
    EngineSpec: {
        "binary": [*TEXT, None],
        "profile": [*TEXT, None],
        "args": TEXTS,
        "env": ["A=1", {"A": 1}, {1: "A"}, {"": "x"}, {"A=B": "x"}, {"A": "x\0"}, [("A",)], None],
        "env_passthrough": TEXTS,
        "cwd": TEXT,
        "host": [*TEXT, None],
        "port": [0, 65536, -1, 80.0, True, "80"],
        "version": TEXT,
        "memory": [0, -1, 2**60 + 1, True, 1.5, "8G"],
        "device_memory": [0, -1, 2**60 + 1, True, 1.5, "8G"],
        "split": [(0.5,), (0.5, 0.6), (float("nan"), 1.0), "0.5,0.5", (2.0, -1.0), 1.0],
        "cuda": [12, "12", "twelve", "12.4.1", ""],
        "exit_zero": ["Graceful", "", 0, True],
    },
    HealthSpec: {
        "probe": [*TEXT, None],
        "path": PATHS,
        "command": TEXTS,
        "timeout": POSITIVE,
        "interval": [*POSITIVE, 0.2],
        "failures": [0, -1, 1001, 3.0, True, "3", None],
        "stall": POSITIVE,
        "warm_up": PATHS,
    },
    Limits: {
        "staging": POSITIVE,
        "start": POSITIVE,
        "start_hard": POSITIVE,
        "stall": POSITIVE,
        "drain": NOT_NEGATIVE,
        "stop_grace": NOT_NEGATIVE,
        "reclaim": POSITIVE,
        "memory_wait": POSITIVE,
        "proving": NOT_NEGATIVE,
    },
    Models: {
        "folder": TEXT,
        "limit": [0, -1, 2**60 + 1, True, 1.5, "8G"],
    },
    ReloadSpec: {
        "strategy": [*TEXT, None, "rolling"],
        "otherwise": [*TEXT, "surge"],
    },
    PoolSpec: {
        "pool_id": ["", "A", "../etc", "ch\N{CYRILLIC SMALL LETTER A}t", "a\n", "x" * 64, None, 5],
        "engine": ["llama-server", None, {"binary": "x"}],
        "model": TEXT,
        "digest": [*TEXT, *DIGESTS],
        "slots": [0, -1, 65537, 1.0, True, "1", None],
        "device_mask": [*TEXT, "x", "0,0", "GPU-1"],
        "replica_id": [*TEXT, None],
        "health": ["http", None],
        "limits": [5, None],
        "backoff": [1.0, None],
        "breaker": [5, None],
        "window": [5, None],
        "classes": [{}, None],
        "reload": ["surge", {}, None],
        "launcher": [*TEXT, None],
        "stager": TEXT,
        "gpu_only": [0, "yes", 1.0],
        "gpu_probe": TEXT,
        "on_manager_exit": [*TEXT, None, "restart"],
    },
}


def test_every_field_has_hostile_values() -> None:
    """No field can be added without a thought for what it must refuse."""
    for spec, fields in HOSTILE.items():
        assert set(fields) == {one.name for one in attrs.fields(spec)}


CASES = [
    (spec, key, value)
    for spec, fields in HOSTILE.items()
    for key, values in fields.items()
    for value in values
]


@pytest.mark.parametrize(("spec", "key", "value"), CASES)
def test_hostile_values_are_refused_by_name(spec: type, key: str, value: object) -> None:
    """B-CONFIG-x1: the key is named, the value shown, and what would be valid said."""
    with pytest.raises(ConfigError) as raised:
        spec(**{**MINIMAL[spec], key: value})
    (problem,) = raised.value.problems
    assert problem.key == key
    assert problem.valid.startswith("must be")


@pytest.mark.parametrize("spec", HOSTILE)
def test_every_problem_at_once(spec: type) -> None:
    """B-CONFIG-x1: with every field wrong, every field is named."""
    with pytest.raises(ConfigError) as raised:
        spec(**{key: values[0] for key, values in HOSTILE[spec].items()})
    assert [problem.key for problem in raised.value.problems] == list(HOSTILE[spec])


@given(pool_specs())
def test_valid_specs_are_values(spec: PoolSpec) -> None:
    """Whatever is valid can be compared, hashed and rebuilt from its own fields."""
    same = PoolSpec(**{one.name: getattr(spec, one.name) for one in attrs.fields(PoolSpec)})
    assert same == spec
    assert hash(same) == hash(spec)


def test_defaults() -> None:
    """The numbers of the behaviours: 120 s to start, 30 min at most, 5 s of grace, 30 s to reclaim."""
    pool = PoolSpec("chat", ENGINE)
    assert (pool.limits.start, pool.limits.start_hard, pool.limits.stall) == (120.0, 1800.0, 60.0)
    assert (pool.limits.stop_grace, pool.limits.reclaim) == (5.0, 30.0)
    assert (pool.health.timeout, pool.slots, pool.device_mask) == (10.0, 1, None)
    assert (pool.backoff, pool.breaker) == (Backoff(), Breaker())
    assert (pool.limits.proving, pool.reload, pool.stager) == (5.0, ReloadSpec("drain_first", None), None)
    assert ENGINE.host == "127.0.0.1"


def test_a_new_model_may_be_trusted_at_once() -> None:
    """B-RELOAD-007: no time to prove itself in is a valid one."""
    assert Limits(proving=0).proving == 0


def test_a_pool_says_what_its_engine_is_launched_for() -> None:
    """B-RELOAD-010: the model, its content, and how the engine is run."""
    pool = PoolSpec("chat", ENGINE, model="file:/a.gguf", digest=SHA256)
    assert pool.target == Target("file:/a.gguf", SHA256, pool.variant)


ANOTHER: dict[str, Any] = {
    "binary": "vllm",
    "profile": "vllm",
    "args": ("--fast",),
    "env": {"A": "1"},
    "env_passthrough": ("PATH",),
    "cwd": "/tmp",
    "host": "::1",
    "port": 8080,
    "version": "2",
    "memory": 5,
    "device_memory": 5,
    "split": (0.5, 0.5),
    "cuda": "12.4",
    "exit_zero": "graceful",
}


@pytest.mark.parametrize("key", ANOTHER)
def test_an_engine_that_is_launched_differently_is_another_variant(key: str) -> None:
    """B-RELOAD-010: what a launched engine knows nothing of can change without launching it anew."""
    changed = attrs.evolve(ENGINE, **{key: ANOTHER[key]})
    assert (PoolSpec("chat", changed).variant == PoolSpec("chat", ENGINE).variant) == (key in NEEDS)


def test_every_field_of_an_engine_has_another_value() -> None:
    """So that nobody adds one without a thought for whether it takes a new launch."""
    assert set(ANOTHER) == {one.name for one in attrs.fields(EngineSpec)}


def test_variants_are_of_engines_not_of_pools() -> None:
    """The same under another name, model or policy; another with other slots; and no secret is in it."""
    engine = EngineSpec("x", env={"HF_TOKEN": "hunter2"})
    pool = PoolSpec("chat", engine)
    other = PoolSpec("embed", engine, model="file:/b.gguf", limits=Limits(drain=1.0))
    assert pool.variant == other.variant == PoolSpec("a", attrs.evolve(engine)).variant
    assert PoolSpec("chat", engine, slots=2).variant != pool.variant
    assert re.fullmatch("[0-9a-f]{16}", pool.variant)


def test_a_start_above_its_hard_limit_is_refused() -> None:
    """B-CONFIG-x1: contradictory times are refused."""
    with pytest.raises(ConfigError, match=r"start = 20.0: must not exceed start_hard \(10\)"):
        Limits(start=20.0, start_hard=10.0)


@pytest.mark.parametrize("command", [(), ("",), ("", "x")])
def test_a_command_probe_needs_a_command(command: tuple[str, ...]) -> None:
    """Told when it is declared, not after the launch; other probes need none."""
    with pytest.raises(ConfigError, match="must begin with a program when the probe is 'command'"):
        HealthSpec(probe="command", command=command)
    assert HealthSpec(probe="command", command=("true",)).command == ("true",)
    assert HealthSpec(command=command).command == command


def test_lists_and_tables_are_taken_as_they_come() -> None:
    """From TOML come lists and dicts; a spec keeps tuples, in one order, so that it can be compared."""
    engine = EngineSpec("x", args=["-m", "a"], env={"B": "2", "A": "1"}, env_passthrough=["PATH"])
    assert engine.args == ("-m", "a")
    assert engine.env == (("A", "1"), ("B", "2"))
    assert engine.env_passthrough == ("PATH",)
    assert hash(engine) == hash(
        EngineSpec("x", args=("-m", "a"), env={"A": "1", "B": "2"}, env_passthrough=("PATH",))
    )


def test_secrets_in_env_are_never_shown() -> None:
    """S18: not in a spec's repr, nor in the sentence about a wrong value."""
    spec = PoolSpec("chat", EngineSpec("x", env={"HF_TOKEN": "hunter2"}))
    assert "hunter2" not in repr(spec)
    with pytest.raises(ConfigError) as raised:
        EngineSpec("x", env={"HF_TOKEN": "hunter2\0"})
    assert str(raised.value).startswith("env = '<hidden>': must be a table of environment variables")
    assert "hunter2" not in repr(raised.value.problems)


def test_secrets_in_arguments_are_never_shown() -> None:
    """S18: keys among an engine's arguments, and all of them where they are wrong."""
    engine = EngineSpec("x", args=["--api-key", "hunter2", "--ctx-size", "8"])
    assert repr(engine).count("--ctx-size") == 1
    assert "hunter2" not in repr(engine)
    assert "hunter2" not in repr(Command(("x", *engine.args)))
    with pytest.raises(ConfigError) as raised:
        EngineSpec("x", args=["--api-key", "hunter2", 5])
    assert "hunter2" not in str(raised.value)
