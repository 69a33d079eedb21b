"""What a simulation says is what the policies say, computed here a second time, by hand."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import evolve

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import FailureClass
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.restart.classes import ClassPolicies, ClassPolicy
from pool_lifecycle.restart.window import Window
from pool_lifecycle.simulation import Action, Run, picture
from pool_lifecycle.simulation.logged import BEFORE_READY
from pool_lifecycle.simulation.replay import AFTERMATH, AtOnce
from pool_lifecycle.simulation.timeline import CircuitLife, CircuitSpan, Span
from pool_lifecycle.simulation.trace import REASONS
from pool_lifecycle.spec import HealthSpec, Limits
from tests.replays import NOTICED, a_config, a_pool, played, runs, the_pool, waits

B = BreakerState

PATIENT = Breaker(threshold=1000)
"""Never opens by itself."""


def moves(circuit: CircuitLife) -> list[tuple[BreakerState, float]]:
    """The states of a circuit that lasted, with how long."""
    return [(one.state, round(one.end - one.begin, 3)) for one in circuit.spans if one.end > one.begin]


# --- the default policies ------------------------------------------------------------------------------


def test_the_default_policies_end_to_end() -> None:
    """B-SUPER-010, B-SUPER-011: 1, 2, 4, 8 s of delay.

    B-SUPER-020, B-SUPER-022, B-SUPER-024, B-SUPER-025: then the circuit is open for 300 s; the trial fails,
    open for 600 s; the trial lasts, closed.
    """
    timeline = played(*runs(3.5, 3.5, 3.5, 3.5, 3.5, 3.5))
    pool = the_pool(timeline)
    assert waits(pool) == pytest.approx([1, 2, 4, 8, 300, 600])
    assert [one.because for one in pool.attempts] == [
        "first start",
        *["back-off"] * 4,
        *["circuit general"] * 2,
    ]
    lived = 0.5 + NOTICED + 3.5
    began = list(itertools.accumulate((lived + wait for wait in (1, 2, 4, 8, 300, 600)), initial=0.0))
    assert [one.begin for one in pool.attempts] == pytest.approx(began)
    (general,) = pool.circuits
    assert moves(general)[:-1] == [
        (B.CLOSED, pytest.approx(5 * lived + 15)),
        (B.OPEN, 300.0),
        (B.TRIAL, pytest.approx(lived)),
        (B.OPEN, 600.0),
        (B.TRIAL, pytest.approx(0.5 + NOTICED + 60)),
    ]
    assert general.openings == 2
    assert timeline.rested
    assert pool.attempts[-1].end is None
    assert timeline.end == pytest.approx(
        began[-1] + 0.5 + NOTICED + 600 + AFTERMATH
    )  # the window is forgotten


def test_a_stable_run_brings_the_first_delay_back() -> None:
    """B-SUPER-014: after 300 s of service the next wait is the initial one; after less it is doubled."""
    assert waits(the_pool(played(*runs(1, 1, 301, 1)))) == pytest.approx([1, 2, 1, 2])
    assert waits(the_pool(played(*runs(1, 1, 299, 1)))) == pytest.approx([1, 2, 4, 8])


def test_the_jitter_is_the_seeds() -> None:
    """B-SUPER-013: within 10 % of the law, another one with another seed, the same one with the same."""
    config = a_config(a_pool(backoff=Backoff()))
    one, same, other = (waits(the_pool(played(*runs(1, 1, 1, 1), config=config, seed=n))) for n in (0, 0, 1))
    assert one == same != other
    for wait, law in zip(one, (1, 2, 4, 8), strict=True):
        assert wait != law
        assert abs(wait - law) <= 0.1 * law


def test_a_class_multiplies_the_delay_and_has_its_own_circuit() -> None:
    """B-SUPER-017, B-SUPER-02A: CUDA failures wait twice as long, and open not the general circuit."""
    pool = the_pool(played(*runs(1, 1, 1, 1, 1, reason="cuda")))
    assert waits(pool) == pytest.approx([2, 4, 8, 16, 300])
    assert [one.name for one in pool.circuits] == ["cuda"]


def test_the_window_holds_back_what_the_delay_would_allow() -> None:
    """B-SUPER-033: the eleventh restart is 60 s after the first one."""
    quick = a_pool(backoff=Backoff(initial=0.1, factor=1, jitter=0), breaker=PATIENT, window=Window(storm=10))
    pool = the_pool(played(*runs(*[3.5] * 11), config=a_config(quick)))
    began = [one.begin for one in pool.attempts]
    assert began[11] - began[1] == pytest.approx(60.0)
    assert pool.attempts[11].because == "window"
    assert {one.because for one in pool.attempts[1:11]} == {"back-off"}
    assert not pool.storms


def test_a_storm_opens_the_circuit_and_is_named() -> None:
    """B-SUPER-035, B-SUPER-038: ten restarts within 30 s, all killed for want of memory."""
    config = a_config(a_pool(backoff=Backoff(initial=0.1, factor=1, jitter=0), breaker=PATIENT))
    pool = the_pool(played(*runs(*[1.0] * 11, reason="out_of_memory"), config=config))
    (storm,) = pool.storms
    assert storm.kind == "oom_storm"
    assert storm.at == pytest.approx(pool.attempts[10].end)
    assert waits(pool)[-1] == pytest.approx(300)
    assert pool.circuits[0].openings == 1


def test_the_host_budget_is_kept_by_all_pools_together() -> None:
    """Of three pools that crash at once the host restarts one, and the others at its rate."""
    pools = [a_pool(name) for name in ("a", "b", "c")]
    config = a_config(*pools, restarts=Budget(burst=1, rate=0.1))
    timeline = played(*(run for pool in pools for run in runs(5, pool_id=pool.pool_id)), config=config)
    assert sorted(wait for pool in timeline.pools for wait in waits(pool)) == pytest.approx([1, 11, 21])
    assert sorted(pool.attempts[1].because for pool in timeline.pools) == [
        "back-off",
        "host's budget + back-off",
        "host's budget + back-off",
    ]


def test_a_device_that_makes_two_pools_fail_is_barred_to_both() -> None:
    """B-SUPER-x7, B-SUPER-023: one circuit for both, told once; of the two, one makes the trial."""
    pools = a_pool("a", device_mask="0"), a_pool("b", device_mask="0"), a_pool("c", device_mask="1")
    given = [Run(name, "cuda", 10) for name in "abc"]
    timeline = played(*given, config=a_config(*pools))
    (device,) = timeline.shared
    assert (device.name, device.pools, device.shared) == ("device 0", ("a", "b"), True)
    assert [state for state, _ in moves(device)] == [B.CLOSED, B.OPEN, B.TRIAL, B.CLOSED]
    one, other, spared = timeline.pools
    assert sorted(map(len, (one.attempts, other.attempts))) == [2, 2]
    assert abs(one.attempts[1].begin - other.attempts[1].begin) == pytest.approx(60.5, abs=0.1)
    assert waits(spared) == pytest.approx([2])


# --- endings -------------------------------------------------------------------------------------------

ANYHOW = [name for name in REASONS if FailureClass(name) not in BEFORE_READY and name != "graceful"]


@pytest.mark.parametrize("reason", REASONS)
def test_every_class_comes_out_of_the_verdict_as_itself(reason: str) -> None:
    """S16: the simulated evidence convicts of what the trace says."""
    first, *_ = the_pool(played(*runs(2.0, reason=reason))).attempts
    assert (first.ended_as, first.failed) == (reason, reason != "graceful")
    assert (first.ready is None) == (FailureClass(reason) in BEFORE_READY)


@pytest.mark.parametrize("reason", [one for one in ANYHOW if one not in {"hang", "health"}])
def test_a_start_can_fail_like_a_run(reason: str) -> None:
    """Before it is ready, `uptime_seconds` after its launch."""
    first, *_ = the_pool(played(*runs(2.0, reason=reason, ready=False))).attempts
    assert (first.ended_as, first.ready) == (reason, None)
    assert first.end == pytest.approx(2.0)


def test_a_graceful_end_stops_the_pool() -> None:
    """B-SUPER-006: it is not started again, and what is left of the trace is told."""
    pool = the_pool(played(*runs(2.0, reason="graceful"), *runs(1.0)))
    assert [span.state for span in pool.spans] == [PoolState.STARTING, PoolState.READY, PoolState.STOPPED]
    assert (pool.unused, pool.restarts, len(pool.attempts)) == (1, 0, 1)


def test_exit_0_is_a_crash_where_the_pool_says_so() -> None:
    """The policies of the configuration hold, whatever the trace calls it."""
    spec = a_pool()
    config = a_config(evolve(spec, engine=evolve(spec.engine, exit_zero="crash")))
    assert the_pool(played(*runs(2.0, reason="graceful"), config=config)).attempts[0].ended_as == "exit"


def test_a_bad_configuration_waits_for_somebody() -> None:
    """It is not retried; when nobody comes, that is the end, and it is down for good."""
    timeline = played(*runs(1.0, 1.0, reason="bad_config"))
    pool = the_pool(timeline)
    assert (len(pool.attempts), pool.unused, timeline.rested) == (1, 1, True)
    assert pool.down == 1.0 + AFTERMATH
    assert pool.spans[-1].state is PoolState.FAILED
    mended = the_pool(played(*runs(1.0, reason="bad_config"), actions=[Action("chat", 60.0, "start")]))
    assert mended.attempts[1].because == "an operator, until start"
    assert waits(mended) == pytest.approx([59.0])


def test_a_policy_of_a_class_is_heeded() -> None:
    """What tomorrow's file says about one class changes what becomes of yesterday's crashes."""
    classes = ClassPolicies(cuda=ClassPolicy(retry=False), signal=ClassPolicy(multiplier=3.0))
    config = a_config(a_pool(classes=classes))
    pool = the_pool(played(*runs(1.0, reason="signal"), *runs(1.0, 1.0, reason="cuda"), config=config))
    assert waits(pool) == pytest.approx([3.0])
    assert pool.unused == 1


def test_how_long_a_start_may_take_is_said_by_the_configuration() -> None:
    """A start that the trace lets last longer times out, and so does one that the trace says is too slow."""
    config = a_config(a_pool(limits=Limits(start=20.0)))
    for run in (*runs(5.0, start_seconds=30.0), *runs(5.0, reason="start_timeout")):
        first = the_pool(played(run, config=config)).attempts[0]
        assert first.ended_as == "start_timeout"
        assert first.end == pytest.approx(20.0)


def test_a_hang_is_noticed_as_fast_as_the_configuration_has_it() -> None:
    """B-SUPER-002: after so many silent checks, each with its time-out; others wait for nothing."""
    quick = HealthSpec(interval=1.0, timeout=0.5, failures=2)
    (first, *_) = the_pool(played(*runs(10.0, reason="hang"), config=a_config(a_pool(health=quick)))).attempts
    assert first.ready is not None
    assert first.end is not None
    assert 1.5 <= first.end - first.ready - 10.0 <= 2.0 + 2 * 0.5


# --- operators -----------------------------------------------------------------------------------------


def test_a_reset_starts_a_pool_whose_circuit_is_open() -> None:
    """B-SUPER-028: at once, and its next failure is the first again."""
    given = runs(1, 1, 1, 1, 1, 1)
    pool = the_pool(played(*given, actions=[Action("chat", 100.0, "reset")]))
    assert pool.attempts[5].begin == pytest.approx(100.0)
    assert pool.attempts[5].because == "circuit general, until reset"
    assert waits(pool)[-1] == pytest.approx(1.0)
    assert [(act.at, act.wish, act.refused) for act in pool.acts] == [(100.0, "reset", "")]


def test_allow_one_is_a_trial() -> None:
    """B-SUPER-039: past the open circuit, which it may close."""
    pool = the_pool(played(*runs(1, 1, 1, 1, 1), actions=[Action("chat", 100.0, "allow_one")]))
    assert pool.attempts[5].because == "circuit general, until allow_one"
    assert [state for state, _ in moves(pool.circuits[0])] == [B.CLOSED, B.OPEN, B.TRIAL, B.CLOSED]


def test_what_is_not_possible_changes_nothing_and_is_said() -> None:
    """An operator is told the state that does not know the wish."""
    pool = the_pool(played(*runs(100.0), actions=[Action("chat", 10.0, "allow_one")]))
    assert pool.acts[0].refused == "not possible while ready"
    assert pool.attempts[0].end == pytest.approx(100.51)


@pytest.mark.parametrize(("wish", "called"), [("stop", "stopped"), ("drain", "drained")])
def test_a_stopped_pool_is_neither_down_nor_waiting(wish: str, called: str) -> None:
    """Its end is no failure; until somebody starts it again no time of it counts as lost."""
    actions = [Action("chat", 10.0, wish), Action("chat", 50.0, "start")]
    pool = the_pool(played(*runs(1000.0, 5.0), actions=actions))
    first, second, _ = pool.attempts
    assert (first.ended_as, first.failed) == (called, False)
    assert first.end == pytest.approx(10.0)
    assert second.begin == pytest.approx(50.0)
    assert (second.waited, second.because) == (0, "at once")
    assert pool.down == pytest.approx(3 * 0.51 + 1.0)
    assert pool.restarts == 1


def test_an_action_alone_is_enough_to_replay() -> None:
    """A pool without runs that is only acted upon."""
    pool = the_pool(played(actions=[Action("chat", 20.0, "stop")]))
    assert [span.state for span in pool.spans][-1] is PoolState.STOPPED
    assert pool.served == pytest.approx(20.0 - 0.51)


# --- the whole -----------------------------------------------------------------------------------------


def test_it_ends_where_it_is_told_to() -> None:
    """And says that it is not over."""
    timeline = played(*runs(1, 1, 1, 1, 1), until=60.0)
    assert (timeline.end, timeline.rested) == (60.0, False)
    assert the_pool(timeline).spans[-1].end == 60.0


def test_pools_that_nothing_happens_to_are_left_out() -> None:
    """They would be ready for ever."""
    timeline = played(*runs(1), config=a_config(a_pool(), a_pool("other")))
    assert [pool.pool_id for pool in timeline.pools] == ["chat"]


def test_two_engines_may_have_the_same_port_on_different_addresses() -> None:
    """As a configuration may declare."""
    spec = a_pool()
    pools = [
        evolve(spec, pool_id=f"p{n}", engine=evolve(spec.engine, host=f"127.0.0.{n}", port=8080))
        for n in (1, 2)
    ]
    timeline = played(*runs(1, pool_id="p1"), *runs(1, pool_id="p2"), config=a_config(*pools))
    assert [len(pool.attempts) for pool in timeline.pools] == [2, 2]
    assert not any(one.failed for pool in timeline.pools for one in pool.attempts[1:])


def test_spans_and_circuits_have_no_holes() -> None:
    """Every pool is somewhere at every time, and so is every circuit that moved."""
    timeline = played(*runs(1, 2, 3, 1, 2, 3, reason="cuda"), actions=[Action("chat", 2.0, "reset")])
    lanes: list[Sequence[Span | CircuitSpan]] = [the_pool(timeline).spans]
    lanes += [one.spans for one in the_pool(timeline).circuits]
    for parts in lanes:
        assert (parts[0].begin, parts[-1].end) == (0.0, timeline.end)
        assert all(one.end == other.begin for one, other in itertools.pairwise(parts))


SAME = """
import sys
from tests.replays import *
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.simulation import as_json
pools = [a_pool(name, device_mask="0", backoff=Backoff()) for name in "abc"]
given = [run for name in "abc" for run in runs(3, 3, 0, 3, reason="cuda", pool_id=name)]
given += [run for name in "abc" for run in runs(30, reason="hang", pool_id=name)]
sys.stdout.write(as_json(played(*given, config=a_config(*pools), seed=7)))
"""


@pytest.mark.sources
def test_the_same_arguments_give_the_same_timeline_in_every_process() -> None:
    """Whatever the hashes of strings are, and however fast threads would be."""
    root = Path(__file__).parents[2]
    said = {
        subprocess.run(
            [sys.executable, "-c", SAME],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in (1, 2)
    }
    assert len(said) == 1


def test_no_work_is_given_to_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take real time, and end in any order."""

    def refuse(*asked: object) -> None:
        raise AssertionError(f"a thread is to do {asked}")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    assert waits(the_pool(played(*runs(1, reason="cuda")))) == pytest.approx([2.0])


def test_a_slow_start_is_ready_when_the_trace_says() -> None:
    """Although a pool looks less often at an engine that takes long."""
    ready = the_pool(played(*runs(1, start_seconds=100.0))).attempts[0].ready
    assert ready == pytest.approx(100.0, abs=2 * NOTICED)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file: what the manager writes goes into a folder that is removed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    played(*runs(1, reason="cuda"))
    assert list(tmp_path.iterdir()) == []


def test_a_storm_and_a_picture_of_many_pools() -> None:
    """Many at once, each with its own lane."""
    pools = [a_pool(f"p{n}") for n in range(30)]
    given = [run for pool in pools for run in runs(2, 2, pool_id=pool.pool_id)]
    timeline = played(*given, config=a_config(*pools))
    assert all(len(pool.attempts) == 3 for pool in timeline.pools)
    assert picture(timeline).count(">p") == 30


def test_what_is_given_to_threads_is_done_at_once() -> None:
    """Results and errors arrive like those of a thread."""

    async def ask() -> None:
        asyncio.get_running_loop().set_default_executor(AtOnce())
        assert await asyncio.to_thread(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)

    asyncio.run(ask())
