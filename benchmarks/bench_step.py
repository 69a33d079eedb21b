"""One step of a pool, against a bare trigger of `transitions` and one of python-statemachine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from statemachine import State, StateMachine
from transitions import Machine

from benchmarks.rows import Row, each_in_turn
from pool_lifecycle import EngineSpec, PoolSpec, Snapshot, step
from pool_lifecycle.events import Drain, Event, Healthy, Resume, Staged, Start

NUMBER = 4000


def run() -> Iterator[Row]:
    """A drain and its resume: two steps between states with gates, activities and deadlines."""
    times = each_in_turn(
        {"step": _steps(), "transitions": _bare_transitions(), "statemachine": _statemachine()}, number=NUMBER
    )
    per_step = {name: taken / 2 * 1e6 for name, taken in times.items()}
    yield Row.against(
        "step()", per_step["step"], "us", "bare transitions trigger", per_step["transitions"], most=2.5
    )
    yield Row.faster(
        "step() ", per_step["step"], "us", "python-statemachine event", per_step["statemachine"], least=3
    )


def _ready() -> Snapshot:
    spec = PoolSpec("bench", EngineSpec("engine"))
    snapshot = Snapshot.new(spec, lineage="bench", now=0.0)
    for make in (lambda _: Start(), Staged, Healthy):
        event: Event = make(snapshot.epoch)
        snapshot, _ = step(snapshot, event, 1.0)
    return snapshot


def _steps() -> Any:
    ready, drain, resume = _ready(), Drain(5.0), Resume()

    def steps() -> None:
        draining, _ = step(ready, drain, 1.0)
        step(draining, resume, 1.0)

    return steps


def _bare_transitions() -> Any:
    machine = Machine(states=["ready", "draining"], initial="ready", auto_transitions=False)
    machine.add_transition("drain", "ready", "draining")
    machine.add_transition("resume", "draining", "ready")
    model: Any = machine

    def triggers() -> None:
        model.drain()
        model.resume()

    return triggers


class _Bare(StateMachine):
    """The same two states, nothing else."""

    ready = State(initial=True)
    draining = State()
    drain = ready.to(draining)
    resume = draining.to(ready)


def _statemachine() -> Any:
    machine = _Bare()

    def events() -> None:
        machine.send("drain")
        machine.send("resume")

    return events
