"""What must hold of every step that a pool takes.

Each invariant is a function that raises AssertionError; its id is that of FAULTS' list, and its docstring
says it in words. The judge is the simulated host, not the library's own idea of what is so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import FailureClass
from pool_lifecycle.events import Event, Exited, Healthy
from pool_lifecycle.lifecycle import Mark, PoolState
from pool_lifecycle.notes import CHANGING
from pool_lifecycle.snapshot import Dropped, Effect, Emit, Notify, Snapshot
from tests import laws

if TYPE_CHECKING:
    from tests.whole.world import World

S, F = PoolState, FailureClass

EPSILON = 1e-6


@frozen(eq=False)
class Step:
    """One step that a pool took."""

    world: World
    before: Snapshot
    event: Event
    after: Snapshot
    effects: tuple[Effect, ...]
    now: float

    @property
    def notice(self) -> Notify | None:
        """The row it took, if any."""
        return next((one for one in self.effects if isinstance(one, Notify)), None)

    @property
    def entered(self) -> PoolState | None:
        """The state that it entered."""
        return None if self.after.epoch == self.before.epoch else self.after.state


def held(condition: object, message: str) -> None:
    """Raise unless it is so."""
    if not condition:
        raise AssertionError(message)


def place(error: AssertionError) -> str:
    """Where an assertion without words failed."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}"


# --- steps ----------------------------------------------------------------------------------------------


def s1_one_writer(step: Step) -> None:
    """S1: what a step begins with is what the last one left, so that nothing else has changed it."""
    last = step.world.ledger.last.get(step.before.pool_id)
    held(last is None or last is step.before, f"{step.before.pool_id} was changed past its steps")


def s1_s2_s3_s15_laws(step: Step) -> None:
    """S1, S2, S3, S8, S15: rows only, no life after an end, no third engine, no launch without permit."""
    if step.effects and isinstance(step.effects[0], Emit) and isinstance(step.effects[0].news, Dropped):
        held(step.after is step.before, "an outcome that came too late has changed something")
        return
    try:
        laws.step_is_sound(step.before, step.event, step.after, step.effects)
    except AssertionError as error:
        raise AssertionError(
            f"{place(error)}: {step.before.state} - {step.event} -> {step.after.state}"
        ) from error


def s5_s6_gone_is_gone(step: Step) -> None:
    """S5, S6: what leaves the record has ended: its whole tree, and with it its port."""
    kept = {one.token for one in (*step.after.engines, *step.after.quarantine)}
    for one in (*step.before.engines, *step.before.quarantine):
        if one.token not in kept:
            process = step.world.host.by_token(one.token)
            held(process is None or not process.lives, f"{process} lives, but is in no record any more")


def s6_no_early_stopped(step: Step) -> None:
    """S6: stopped means that nothing runs but what is on the quarantine ledger."""
    if step.entered is S.STOPPED:
        listed = {one.token for one in step.after.quarantine}
        left = [one for one in step.world.host.of(step.after.pool_id) if one.token not in listed]
        held(not left, f"stopped, but {left} live")


def s8_ready_truth(step: Step) -> None:
    """S8: ready means that this very process has answered, while it lived."""
    if isinstance(step.event, Healthy) and step.entered is not None and step.after.serving is not None:
        server = step.after.server
        if server is None or server.healthy_at != step.now:
            return
        process = step.world.host.by_token(server.token)
        held(process is not None and process.answered, f"generation {server.generation} never answered")


def s12_reload_atomic(step: Step) -> None:
    """S12: a change of model that fails leaves target and counters as they were; one that works, its own."""
    notice, before, after = step.notice, step.before, step.after
    if step.entered is S.READY and after.server is not None:
        held(after.server.target == after.target, f"{after.server.target} serves, not {after.target}")
    if notice is None or before.state not in CHANGING or before.plan is None:
        return
    if notice.mark == Mark.COMMITTED:
        held(after.target == before.plan.target, "another model than that of the plan was committed")
        return
    renamed = evolve(before.target, variant=after.rules.variant)  # of an earlier manager's, launched anew
    held(
        after.target in (before.target, renamed), f"the model changed without being committed ({notice.why})"
    )
    if after.state is S.READY and step.entered:
        held(after.crash_count == before.crash_count, "a reload that failed has changed the count of crashes")


def s13_restart_budget(step: Step) -> None:
    """S13: restarts per pool and per host stay within their limits, also across managers."""
    notice = step.notice
    if notice is not None and notice.mark == Mark.RESTART:
        step.world.restarts.begun(step.after.pool_id, step.world.host.true)


def s14_backoff_law(step: Step) -> None:
    """S14: no restart before its time; no delay shorter than the law of its policy."""
    before, after, notice = step.before, step.after, step.notice
    if notice is None:
        return
    if before.state is S.BACKING_OFF and notice.mark == Mark.RESTART:
        early = (before.not_before or 0.0) - step.now
        held(early <= EPSILON, f"{before.pool_id} restarts {early:.3f} s early")
    if step.entered is not S.BACKING_OFF or notice.mark == Mark.IN_TURN or after.cause is None:
        return
    rule = after.rules.treatment(after.cause.kind)
    if rule.counted and after.crashes:
        delay = after.rules.backoff.delay(after.crash_count, -1.0, rule.multiplier)
        due = after.crashes[-1].at + delay
        held((after.not_before or 0.0) >= due - EPSILON, f"its delay is shorter than {delay:.3f} s")


def s15_one_trial(step: Step) -> None:
    """S15: of all pools that share a circuit, one has the trial."""
    manager = step.world.life.manager
    if step.after.circuits is step.before.circuits or manager is None:
        return
    for circuit in step.after.circuits:
        if circuit.shared and circuit.state is BreakerState.TRIAL and circuit.holder == step.after.pool_id:
            others = [pool for pool in manager if pool.pool_id != step.after.pool_id]
            rivals = [one for one in others if _launching_on_trial(one.snapshot, circuit.name)]
            held(not rivals, f"{rivals} have the trial of {circuit.name} as well")


def _launching_on_trial(pool: Snapshot, name: str) -> bool:
    mine = (one for one in pool.circuits if one.name == name)
    return any(one.holder == pool.pool_id and one.state is BreakerState.TRIAL for one in mine)


def s16_classify(step: Step) -> None:
    """S16: graceful only with a real status 0, out of memory only with evidence, and what is lost unknown."""
    if not isinstance(step.event, Exited):
        return
    process, status, kind = (
        step.world.host.by_token(step.event.token),
        step.event.status,
        step.event.cause.kind,
    )
    held(process is not None, f"{step.event.token} ended, but was never launched")
    assert process is not None
    if status.known:
        held(status == process.exit, f"it ended with {process.exit}, not {status}")
    held(kind is not F.GRACEFUL or status.success, f"graceful with {status}")
    held(kind is not F.OUT_OF_MEMORY or status.clues, f"out of memory with {status}")
    blamed = (F.EXIT, F.SIGNAL, F.OUT_OF_MEMORY, F.GRACEFUL)
    held(status.known or kind not in blamed, f"a lost status is told as {kind}")


OF_STEPS: tuple[Callable[[Step], None], ...] = (
    s1_one_writer,
    s1_s2_s3_s15_laws,
    s5_s6_gone_is_gone,
    s6_no_early_stopped,
    s8_ready_truth,
    s12_reload_atomic,
    s13_restart_budget,
    s14_backoff_law,
    s15_one_trial,
    s16_classify,
)
