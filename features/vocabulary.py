"""How sentences become steps: `given`, `when` and `then`, and the kinds of words that stand in them.

A step is a function of the scenario's world and of the words in its sentence. It may be `async`: then it runs
on the world's one event loop, on which what it began goes on during the later steps. (behave itself would
give every such step a run of its own.) What stands under a step is in `world.table` and `world.text`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import behave
from attrs import frozen

StepFunction = TypeVar("StepFunction", bound=Callable[..., Any])
Sentence = Callable[[str], Callable[[StepFunction], StepFunction]]


def _speaking(register: Callable[[str], Callable[[Any], Any]]) -> Sentence[StepFunction]:
    def sentence(words: str) -> Callable[[StepFunction], StepFunction]:
        def keep(step: StepFunction) -> StepFunction:
            @functools.wraps(step)
            def run(context: Any, **said: Any) -> None:
                context.world.take(step, context.table, context.text, said)

            register(words)(run)
            return step

        return keep

    return sentence


given: Sentence[Any] = _speaking(behave.given)
when: Sentence[Any] = _speaking(behave.when)
then: Sentence[Any] = _speaking(behave.then)


# --- kinds of words ------------------------------------------------------------------------------------


@frozen
class Kind:
    """What a kind of words looks like, as a regular expression without groups, and what it means."""

    pattern: str
    meaning: Callable[[str], Any] = str

    def __call__(self, words: str) -> Any:
        return self.meaning(words)


SECONDS = {"millisecond": 0.001, "second": 1.0, "minute": 60.0}
NUMBERS = {"no": 0, "a": 1, "one": 1, "two": 2}
HEALTH = {
    "live and ready": (True, True),
    "live but not ready": (True, False),
    "neither live nor ready": (False, False),
}


def _seconds(words: str) -> float:
    number, unit = words.split()
    return float(number) * SECONDS[unit.removesuffix("s")]


def _count(words: str) -> int:
    number, _ = words.split()
    return NUMBERS[number] if number in NUMBERS else int(number)


def _list(words: str) -> list[float]:
    return [float(number) for number in words.removesuffix(" seconds").replace(" and ", ", ").split(", ")]


def _whole_numbers(words: str) -> list[int]:
    return [int(number) for number in _list(words)]


def _circuit(words: str) -> str:
    _, _, what = words.partition(" ")
    return {"circuit": "general", "circuit for CUDA errors": "cuda"}.get(what, what.partition(" of ")[2])


def _counted(noun: str) -> Kind:
    return Kind(rf"(?:\d+|{'|'.join(NUMBERS)}) {noun}s?", _count)


behave.register_type(
    Circuit=Kind("the circuit(?: for CUDA errors| of device [0-9])?", _circuit),
    CircuitState=Kind("closed|open|half-open"),
    Death=Kind(
        "crashes(?: with a CUDA error| on words that a user sent)?|loses its device|"
        "runs out of device memory|is killed(?: for want of memory)?|ends and nobody knows how"
    ),
    DrainEnd=Kind("as drained|as force-stopped|as resumed|because nothing served|because the engine died"),
    Duration=Kind(r"[\d.]+ (?:millisecond|second|minute)s?", _seconds),
    Failing=Kind(
        "cannot be loaded|is never ready|needs an engine that cannot be executed|"
        "crashes 2 seconds after it was ready"
    ),
    Field=Kind(
        "last error|heartbeat|version|engine (?:version|digest|catalog id)|device mask|(?:free )?slots"
    ),
    Health=Kind("|".join(HEALTH), HEALTH.__getitem__),
    Failures=_counted("failure"),
    Leases=_counted("lease"),
    List=Kind(r"[\d.]+(?:, [\d.]+)* and [\d.]+ seconds", _list),
    Numbers=Kind(r"\d+(?:, \d+)* and \d+", _whole_numbers),
    Part=Kind("preflight|staging|launch|health check|run"),
    Pools=Kind(r'"[^"]+"(?:, "[^"]+")*(?: and "[^"]+")?', lambda words: words.split('"')[1::2]),
    Quoted=Kind(r'"[^"]+"(?:(?:, | and )"[^"]+")+'),
    Slots=_counted("slot"),
    State=Kind("ready|draining|stopped|stuck|failed|backing off"),
    Storms=_counted("storm"),
    Times=_counted("time"),
)
