"""One pool through any life at all, with real times, epochs and tokens, held against the laws.

The world around it is kept honest: processes begin and end, time passes, alarms go off when they are due,
an activity reports once, and now and then somebody reports what is long over.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pool_lifecycle.agenda import next_due
from pool_lifecycle.causes import LOST, ExitStatus
from pool_lifecycle.errors import IllegalEvent
from pool_lifecycle.events import (
    AllowOne,
    Drain,
    Drained,
    Due,
    Event,
    Exited,
    Gone,
    Halt,
    Healthy,
    Launched,
    Outcome,
    Overdue,
    Progressed,
    Reload,
    Reset,
    Resume,
    Staged,
    Start,
    Stop,
    Strategy,
    Target,
    Wish,
)
from pool_lifecycle.lifecycle import LIFECYCLE, Activity, Limit, PoolState
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.snapshot import (
    Cancel,
    CloseGate,
    Dropped,
    Effect,
    Emit,
    Instance,
    Invoke,
    OpenGate,
    Persist,
    Rules,
    Snapshot,
)
from pool_lifecycle.spec import Limits
from pool_lifecycle.step import step
from pool_lifecycle.testing.strategies import backoffs, causes, limits
from tests.laws import snapshot_is_sound, step_is_sound
from tests.space import handle, outcomes

S = PoolState

MODELS = st.sampled_from(("file:/a.gguf", "file:/b.gguf", None))
SPANS = st.none() | st.floats(0.0, 100.0)

TO_RUN = st.sampled_from((Start(), Resume(), Reset(), AllowOne()))
TO_CHANGE = st.builds(Reload, st.builds(Target, MODELS), st.sampled_from(Strategy), SPANS, st.booleans())
TO_END = st.one_of(st.builds(Drain, SPANS), st.builds(Stop, SPANS), st.builds(Halt, SPANS))

STATUSES = st.sampled_from((ExitStatus(code=0), ExitStatus(code=1), ExitStatus(signal=9), LOST))


class PoolLife(RuleBasedStateMachine):
    """A pool, and the world it can only know by its events."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.gate: int | None = None
        self.running: tuple[Activity, int] | None = None
        self.alive: set[str] = set()
        self.ended: dict[str, ExitStatus] = {}

    @initialize(
        backoff=backoffs(),
        limits_=st.just(Limits()) | limits(),
        threshold=st.integers(1, 3),
        fresh=st.booleans(),
    )
    def begin(self, backoff: Backoff, limits_: Limits, threshold: int, fresh: bool) -> None:
        """A pool with any policy, that has never run or that serves for the first time."""
        rules = Rules(limits_, backoff, Breaker(threshold, 300.0, 1800.0, 60.0))
        self.pool = Snapshot("chat", Target("file:/a.gguf"), rules, "x", since=self.now)
        self.stored = self.pool
        if not fresh:
            self.take(Start())
            self.take(Staged(self.pool.epoch))
            self.a_launch_becomes_a_process()
            self.take(Healthy(self.pool.epoch))

    # --- what happens ------------------------------------------------------------------------------------

    @rule(wish=TO_RUN)
    def somebody_wants_it_to_run(self, wish: Wish) -> None:
        """In one way or another, possible or not."""
        self.wish(wish)

    @rule(wish=TO_CHANGE)
    def somebody_wants_another_model(self, wish: Wish) -> None:
        """Or the same."""
        self.wish(wish)

    @rule(wish=TO_END, really=st.integers(0, 5))
    def somebody_wants_it_to_end(self, wish: Wish, really: int) -> None:
        """Not too often, or nothing would ever live."""
        if really == 0:
            self.wish(wish)

    def wish(self, wish: Wish) -> None:
        """What is not possible changes nothing."""
        before = self.pool
        try:
            self.take(wish)
        except IllegalEvent:
            assert wish.kind not in LIFECYCLE.legal(before.state)
            assert self.pool == before

    @rule(well=st.integers(0, 2), data=st.data())
    def work_reports(self, well: int, data: st.DataObject) -> None:
        """The activity under way reports; an ending, only once it is true."""
        possible = list(outcomes(self.pool))
        if possible:
            one = possible[0] if well else data.draw(st.sampled_from(possible))
            if isinstance(one, Gone):
                self.end_all()
            self.take(one)

    def end_all(self) -> None:
        """What the ending activity ends is at an end before it says so."""
        retiring = self.pool.state is S.RETIRING
        for one in self.pool.spares if retiring else self.pool.engines:
            self.alive.discard(one.token)

    @rule(
        kind=st.sampled_from((Staged, Healthy, Drained, Gone, Due, Progressed, Overdue)),
        age=st.integers(1, 9),
    )
    def somebody_reports_what_is_over(self, kind: type[Outcome], age: int) -> None:
        """It changes nothing and is counted."""
        late = kind(self.pool.epoch - age)
        assert step(self.pool, late, self.now) == (self.pool, (Emit(Dropped(late.kind, late.epoch)),))

    @precondition(lambda self: any(one.handle is None for one in self.pool.engines))
    @rule()
    def a_launch_becomes_a_process(self) -> None:
        """The newest engine is there."""
        one = next(one for one in self.pool.engines if one.handle is None)
        if one.exit is None:
            self.alive.add(one.token)
        self.take(Launched(one.token, handle(one.token)))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), status=STATUSES, graceful=st.booleans(), cause=causes())
    def a_process_ends(self, data: st.DataObject, status: ExitStatus, graceful: bool, cause: object) -> None:
        """Any that lives, in whatever state the pool is."""
        token = data.draw(st.sampled_from(sorted(self.alive)))
        self.alive.discard(token)
        self.ended[token] = status
        self.take(Exited(token, status, cause, graceful))  # type: ignore[arg-type]

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), cause=causes())
    def an_end_is_told_twice(self, data: st.DataObject, cause: object) -> None:
        """S2 OneShot: the second time is no news."""
        token = data.draw(st.sampled_from(sorted(self.ended)))
        assert step(self.pool, Exited(token, LOST, cause), self.now) == (self.pool, ())  # type: ignore[arg-type]

    @rule(span=st.floats(0.001, 10.0) | st.floats(10.0, 2000.0))
    def time_passes(self, span: float) -> None:
        """Whatever falls due on the way is told at its time, and nothing falls due for ever."""
        until = self.now + span
        for _ in range(200):
            appointment = next_due(self.pool)
            if appointment is None or appointment[0] > until:
                self.now = until
                return
            self.now = max(self.now, appointment[0])
            self.take(appointment[1])
        raise AssertionError(f"something is due for ever: {appointment}")

    # --- what is done about it ---------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """One step, held against the laws, and its effects carried out."""
        before = self.pool
        after, effects = step(before, event, self.now)
        step_is_sound(before, event, after, effects)
        self.times_are_kept(before, after)
        self.pool = after
        for effect in effects:
            self.carry_out(effect)

    def times_are_kept(self, before: Snapshot, after: Snapshot) -> None:
        """S11: while a state lasts a drain or an end only hurries; progress never goes beyond its limit."""
        if after.epoch != before.epoch or before.deadline is None:
            return
        assert after.deadline is not None
        hard = after.since + after.rules.limits.start_hard
        if LIFECYCLE.states[after.state].limit in (Limit.STAGING, Limit.START):
            assert before.deadline <= after.deadline <= max(before.deadline, hard)
        else:
            assert after.deadline <= before.deadline

    def carry_out(self, effect: Effect) -> None:
        """The runtime's part, in the order asked for."""
        match effect:
            case CloseGate():
                assert self.gate is not None
                self.gate = None
            case OpenGate(generation):
                assert (self.gate, self.stored) == (None, self.pool)
                self.gate = generation
            case Persist():
                self.stored = self.pool
            case Cancel(epoch):
                assert self.running is not None
                assert self.running[1] == epoch
                self.running = None
            case Invoke(activity, epoch):
                assert (self.running, self.stored) == (None, self.pool)
                self.running = (activity, epoch)

    # --- what always holds -------------------------------------------------------------------------------

    @invariant()
    def it_is_sound(self) -> None:
        """And the store has it."""
        snapshot_is_sound(self.pool)
        assert self.stored == self.pool

    @invariant()
    def the_gate_leads_to_a_healthy_engine(self) -> None:
        """S8, S10: open exactly where leases are granted, on an engine that was healthy and has not ended."""
        serving = LIFECYCLE.states[self.pool.state].serving
        assert self.gate == (self.pool.serving if serving else None)
        if serving:
            assert self.pool.server is not None
            assert self.pool.server.token not in self.ended

    @invariant()
    def the_right_work_is_under_way(self) -> None:
        """Exactly the activity of the state, begun at its entry."""
        activity = LIFECYCLE.states[self.pool.state].activity
        assert self.running == (None if activity is None else (activity, self.pool.epoch))

    @invariant()
    def no_process_is_forgotten(self) -> None:
        """S5, S6: whatever lives is an engine of the pool or on the ledger."""
        known: tuple[Instance, ...] = (*self.pool.engines, *self.pool.quarantine)
        assert self.alive <= {one.token for one in known}

    def teardown(self) -> None:
        """V2: told to stop, and once what is left is gone, it is stopped, in a few steps."""
        if not hasattr(self, "pool"):
            return
        self.take(Stop())
        for _ in range(3):
            if self.pool.state is not S.STOPPED:
                self.end_all()
                self.take(Gone(self.pool.epoch))
        assert self.pool.state is S.STOPPED
        assert self.alive <= {one.token for one in self.pool.quarantine}


PoolLife.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
test_any_life = PoolLife.TestCase
