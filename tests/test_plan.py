"""What is to be done so that pools are as declared: told key by key, without a secret."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.plan import WAYS, Difference, PoolChange, Way, described, plan_between, plan_of, way_of
from pool_lifecycle.restart.classes import ClassPolicies, ClassPolicy
from pool_lifecycle.restart.window import Window
from pool_lifecycle.spec import NEEDS, EngineSpec, HealthSpec, Limits, PoolSpec, ReloadSpec
from pool_lifecycle.testing.strategies import pool_specs

CHAT = PoolSpec("chat", EngineSpec("llama-server", args=("-c", "4096", "--flash")), model="file:/a.gguf")


def change(after: PoolSpec, before: PoolSpec = CHAT) -> PoolChange:
    """What is to be done with the one pool."""
    (one,) = plan_of([before], [after]).changes
    return one


@given(st.lists(pool_specs(), max_size=3, unique_by=lambda spec: spec.pool_id))
def test_what_is_declared_as_before_is_unchanged(specs: list[PoolSpec]) -> None:
    """Applying nothing new changes nothing, whatever is declared."""
    plan = plan_of(specs, specs)
    assert [one.pool_id for one in plan.changes] == [spec.pool_id for spec in specs]
    assert plan.pending == ()
    assert all(one.differences == () for one in plan.changes)


@given(pool_specs(), pool_specs())
def test_only_equal_declarations_are_unchanged(one: PoolSpec, two: PoolSpec) -> None:
    """Total: any two can be compared, and no difference is overlooked."""
    two = evolve(two, pool_id=one.pool_id)
    found = change(two, one)
    assert (found.way is Way.UNCHANGED) == (one == two)
    assert bool(found.differences) == (one != two)


@given(pool_specs(), pool_specs())
def test_every_pool_is_told_of_once(one: PoolSpec, two: PoolSpec) -> None:
    """Added, removed or kept, in the order of the declaration; what is gone comes last."""
    plan = plan_of([one], [two])
    if one.pool_id == two.pool_id:
        assert [one.pool_id for one in plan.changes] == [two.pool_id]
        return
    assert [(one.pool_id, one.way) for one in plan.changes] == [
        (two.pool_id, Way.ADD),
        (one.pool_id, Way.REMOVE),
    ]


def test_every_field_has_its_way() -> None:
    """A field that nobody has thought of here fails this test, not a pool."""
    fields = {one.name for one in attrs.fields(PoolSpec)}
    assert set(WAYS) == fields - {"pool_id"}
    assert {name for name in NEEDS if way_of(f"engine.{name}") is not Way.ADJUST} == set()
    others = {one.name for one in attrs.fields(EngineSpec)} - NEEDS
    assert {way_of(f"engine.{name}") for name in others} == {Way.RELOAD}
    assert way_of("engine.env.memory") is Way.RELOAD


def test_a_new_engine_is_needed_for_just_what_engines_are_launched_with() -> None:
    """What makes a target another one, and nothing else."""
    for name in attrs.fields_dict(PoolSpec):
        changed = _CHANGED.get(name)
        if changed is not None:
            other = evolve(CHAT, **{name: changed})
            assert (change(other).way is Way.RELOAD) == (other.target != CHAT.target), name
    assert set(_CHANGED) == set(WAYS)
    for name, value in _OF_ENGINE.items():
        other = evolve(CHAT, engine=evolve(CHAT.engine, **{name: value}))
        assert (change(other).way is Way.RELOAD) == (other.target != CHAT.target), name


_OF_ENGINE: dict[str, Any] = {"memory": 1, "device_memory": 1, "exit_zero": "crash", "version": "b7"}

_CHANGED: dict[str, Any] = {
    "engine": EngineSpec("vllm"),
    "model": "file:/b.gguf",
    "digest": "sha256:" + "0" * 64,
    "slots": 2,
    "device_mask": "0",
    "replica_id": "1",
    "launcher": "memory",
    "gpu_only": True,
    "gpu_probe": "memory",
    "on_manager_exit": "keep",
    "health": HealthSpec(path="/up"),
    "limits": Limits(start=9.0),
    "backoff": evolve(CHAT.backoff, jitter=0.0),
    "breaker": evolve(CHAT.breaker, threshold=9),
    "window": Window(period=59.0),
    "classes": ClassPolicies(exit=ClassPolicy(retry=False)),
    "reload": ReloadSpec(strategy="surge"),
    "stager": "memory",
}


@pytest.mark.parametrize(
    ("changes", "way"),
    [
        ({"slots": 2, "limits": Limits(start=9.0)}, Way.RELOAD),
        ({"slots": 2, "device_mask": "0"}, Way.REPLACE),
        ({"health": HealthSpec(path="/up"), "stager": "memory"}, Way.ADJUST),
    ],
)
def test_the_most_that_is_needed_is_done(changes: dict[str, Any], way: Way) -> None:
    """Once, for all the differences together."""
    assert change(evolve(CHAT, **changes)).way is way


def test_differences_are_told_as_a_file_has_them() -> None:
    """Keys with dots, values as in TOML; what is not set is so."""
    found = change(evolve(CHAT, digest="sha256:" + "0" * 64, model="file:/b.gguf", limits=Limits(start=9.5)))
    assert found.differences == (
        Difference("model", '"file:/a.gguf"', '"file:/b.gguf"'),
        Difference("digest", None, f'"sha256:{"0" * 64}"'),
        Difference("limits.start", "120", "9.5"),
    )
    assert [str(one) for one in found.differences[1:]] == [
        f'digest: not set -> "sha256:{"0" * 64}"',
        "limits.start: 120 -> 9.5",
    ]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (("-c", "8192", "--flash"), '[..., "4096", ...] -> [..., "8192", ...]'),
        (("-c", "4096"), '[..., "--flash"] -> [...]'),
        ((), '["-c", "4096", "--flash"] -> []'),
        (("-c", "4096", "4096", "--flash"), '[..., ...] -> [..., "4096", ...]'),
    ],
)
def test_of_long_lists_only_the_difference_is_told(after: tuple[str, ...], told: str) -> None:
    """To people; a program gets all of it."""
    (one,) = change(evolve(CHAT, engine=evolve(CHAT.engine, args=after))).differences
    assert str(one) == f"engine.args: {told}"
    assert one.before == '["-c", "4096", "--flash"]'


def test_secrets_are_seen_to_change_and_not_shown() -> None:
    """S18: in variables, arguments and commands."""

    def with_secret(secret: str) -> PoolSpec:
        engine = EngineSpec("x", args=("--api-key", secret), env=(("TOKEN", secret),))
        health = HealthSpec(probe="command", command=("curl", "-H", f"Authorization: {secret}"))
        return PoolSpec("chat", engine, health=health)

    found = change(with_secret("correct-horse-2"), with_secret("correct-horse-1"))
    assert {one.key for one in found.differences} == {"engine.args", "engine.env.TOKEN", "health.command"}
    assert "correct-horse" not in repr(found)
    assert all(str(one).endswith(" -> another one") for one in found.differences)
    assert "correct-horse" not in repr(described(with_secret("correct-horse-1")))


def test_a_variable_that_comes_or_goes_is_told_by_its_name() -> None:
    """And its value is hidden."""
    found = change(
        evolve(CHAT, engine=evolve(CHAT.engine, env={"B": "2"})),
        evolve(CHAT, engine=evolve(CHAT.engine, env={"A": "1"})),
    )
    assert found.differences == (
        Difference("engine.env.B", None, "<hidden>"),
        Difference("engine.env.A", "<hidden>", None),
    )


def test_hashes_of_secrets_say_nothing_without_their_key() -> None:
    """The same secret has another one under another key; under one key, equal secrets are equal."""
    spec = evolve(CHAT, engine=evolve(CHAT.engine, env={"A": "s3cret"}))
    one, two = described(spec, b"one"), described(spec, b"two")
    assert plan_between([one], [described(spec, b"one")]).pending == ()
    assert [change.way for change in plan_between([one], [two]).changes] == [Way.RELOAD]


def test_of_a_new_pool_it_is_told_what_is_declared() -> None:
    """Not what is as ever; of one that goes, nothing."""
    plan = plan_of([CHAT], [PoolSpec("embed", EngineSpec("vllm"), slots=8)])
    assert [str(one) for one in plan.changes] == [
        'to add: engine.binary = "vllm"; slots = 8',
        "to remove",
    ]
    assert str(plan) == "1 to add, 1 to remove"


def test_a_variable_that_is_declared_twice_is_a_difference() -> None:
    """Although the last value is the one that counts: such an engine was launched by other words."""
    twice = (("A", "1"), ("A", "2"))
    found = change(
        evolve(CHAT, engine=evolve(CHAT.engine, env=twice)),
        evolve(CHAT, engine=evolve(CHAT.engine, env=(("A", "2"),))),
    )
    assert found.way is Way.RELOAD
