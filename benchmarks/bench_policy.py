"""From the evidence of a crash to what follows from it: the verdict, the step of the crash, the back-off."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.rows import Row, each_in_turn
from pool_lifecycle import EngineSpec, ExitStatus, PoolSpec, Snapshot, step
from pool_lifecycle.events import Event, Exited, Gone, Healthy, Staged, Start
from pool_lifecycle.verdict import Evidence, judge

NUMBER = 2000
MOST = 50.0
EVIDENCE = {
    "a kill by a stranger": Evidence(ExitStatus(signal=9), lived=100.0, healthy=True, log="engine.log"),
    "a defect": Evidence(
        ExitStatus(signal=11), lived=100.0, healthy=True, last_line="GGML_ASSERT", log="e.log"
    ),
}


def run() -> Iterator[Row]:
    """Decided in two steps: that it crashed, and, once nothing is left of it, what comes next."""
    serving = _serving()
    for name, evidence in EVIDENCE.items():
        times = each_in_turn(_contenders(serving, evidence), number=NUMBER)
        taken = {what: seconds * 1e6 for what, seconds in times.items()}
        for what in ("verdict and crash step", "verdict, crash and back-off"):
            yield Row.within(
                f"{what}: {name}",
                taken[what],
                "us",
                MOST,
                peer="the verdict alone",
                peer_value=taken["verdict"],
            )


def _serving() -> Snapshot:
    snapshot = Snapshot.new(PoolSpec("bench", EngineSpec("engine")), lineage="bench", now=0.0)
    for make in (lambda _: Start(), Staged, Healthy):
        event: Event = make(snapshot.epoch)
        snapshot, _ = step(snapshot, event, 1.0)
    return snapshot


def _contenders(serving: Snapshot, evidence: Evidence) -> dict[str, Callable[[], object]]:
    token, status = serving.engines[0].token, evidence.status
    assert status is not None  # each of them has ended

    def crash() -> Snapshot:
        return step(serving, Exited(token, status, judge(evidence)), 100.0)[0]

    def decided() -> Snapshot:
        recovering = crash()
        return step(recovering, Gone(recovering.epoch), 100.0)[0]

    return {
        "verdict": lambda: judge(evidence),
        "verdict and crash step": crash,
        "verdict, crash and back-off": decided,
    }
