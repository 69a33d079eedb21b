"""What a failure means by its class."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.errors import ConfigError
from pool_lifecycle.restart.classes import (
    TREATMENTS,
    ClassPolicies,
    ClassPolicy,
    Treatment,
    circuit_names,
    treatment,
)

F = FailureClass

NOT_THE_ENGINES = {F.KILLED_BY_OPERATOR, F.MANAGER_EXIT, F.HOST_RESTART}


def usual(kind: FailureClass) -> Treatment:
    return treatment(kind, ClassPolicies(), fixed_port=False)


def test_every_class_has_a_treatment() -> None:
    """B-SUPER-x2: none is forgotten, and each is treated as its default says."""
    assert set(TREATMENTS) == set(FailureClass)
    assert all(usual(kind) == TREATMENTS[kind] for kind in FailureClass)


def test_what_is_not_the_engines_doing_is_never_counted() -> None:
    """B-SUPER-x2, B-SUPER-x4: and nothing can be said in configuration to change that."""
    assert not any(usual(kind).counted for kind in NOT_THE_ENGINES)
    configurable = {one.name for one in attrs.fields(ClassPolicies)}
    assert configurable == {str(kind) for kind in FailureClass} - NOT_THE_ENGINES - {"graceful"}


def test_defaults() -> None:
    """B-SUPER-017, 02A, x2: what is particular about single classes."""
    assert (usual(F.CUDA).multiplier, usual(F.CUDA).circuit) == (2.0, "cuda")
    assert usual(F.BAD_CONFIG).retry is False
    assert usual(F.PORT_IN_USE).counted is False
    assert usual(F.DEVICE_OUT_OF_MEMORY).awaits_memory
    assert {kind for kind in FailureClass if usual(kind).blames_device} == {F.CUDA, F.DEVICE_LOST}
    assert circuit_names(ClassPolicies()) == ("general", "cuda")


def test_what_is_not_said_stays_as_usual() -> None:
    """Another multiplier for CUDA does not take its circuit away."""
    said = ClassPolicies(cuda=ClassPolicy(multiplier=5.0))
    found = treatment(F.CUDA, said, fixed_port=False)
    assert (found.multiplier, found.circuit, found.blames_device) == (5.0, "cuda", True)


def test_a_class_can_be_given_a_circuit_and_lose_it() -> None:
    """B-SUPER-02A: for any class."""
    said = ClassPolicies(cuda=ClassPolicy(own_circuit=False), hang=ClassPolicy(own_circuit=True))
    assert treatment(F.CUDA, said, fixed_port=False).circuit == "general"
    assert circuit_names(said) == ("general", "hang")


def test_a_declared_port_cannot_be_exchanged() -> None:
    """Then a clash counts, and the remedy says what to do."""
    found = treatment(F.PORT_IN_USE, ClassPolicies(), fixed_port=True)
    assert found.counted
    assert "port" in found.remedy


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({"retry": False, "multiplier": 2.0}, "multiplier"),
        ({"retry": False, "own_circuit": True}, "own_circuit"),
        ({"counted": False, "multiplier": 2.0}, "multiplier"),
        ({"counted": False, "own_circuit": True}, "own_circuit"),
    ],
)
def test_contradictions_are_refused(said: dict[str, Any], key: str) -> None:
    """B-CONFIG-x1: what is never tried again has no delay, what does not count has no circuit."""
    with pytest.raises(ConfigError) as raised:
        ClassPolicy(**said)
    (problem,) = {problem.key: problem for problem in raised.value.problems}.values()
    assert problem.key == key
    assert "must be left out" in problem.valid


@pytest.mark.parametrize(
    "said", [{"retry": "yes"}, {"counted": 1}, {"multiplier": 0}, {"own_circuit": 0}, {"remedy": ""}]
)
def test_hostile_values_are_refused_by_name(said: dict[str, Any]) -> None:
    """B-CONFIG-x1."""
    with pytest.raises(ConfigError) as raised:
        ClassPolicy(**said)
    assert [problem.key for problem in raised.value.problems] == list(said)


def test_an_unknown_class_is_refused() -> None:
    """B-CONFIG-x1: as any unknown key."""
    with pytest.raises(ConfigError):
        ClassPolicies(exit="often")  # type: ignore[arg-type]
