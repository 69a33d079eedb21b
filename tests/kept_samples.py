"""One of everything that is kept, with the text that it is stored as since today."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, Clue, ClueKind, Confidence, ExitStatus, FailureClass, Stage
from pool_lifecycle.events import Strategy, Target
from pool_lifecycle.interfaces import DeviceFault, EngineHandle, FaultKind
from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Moment, Passage
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.restart.storm import Crash, Storm
from pool_lifecycle.serialized import (
    dump,
    dump_host,
    dump_lease,
    dump_passage,
    load,
    load_host,
    load_lease,
    load_passage,
)
from pool_lifecycle.snapshot import Instance, Intent, Plan, Rules, Snapshot
from pool_lifecycle.waits import Awaits

OLD, NEW = Target("file:/old.gguf"), Target("file:/new.gguf", "sha256:6e", "c0de")

FAULT = DeviceFault("GPU-0", 79, "it has fallen off the bus", FaultKind.LOST)
CAUSE = Cause(
    FailureClass.OUT_OF_MEMORY,
    Stage.WARM_UP,
    'it was "killed" \u2620',
    heals=False,
    remedy="more memory",
    exit=ExitStatus(signal=9, clues=(Clue(ClueKind.OOM_KILL, "the kernel says so", proof=True),)),
    evidence=("first", "second"),
    confidence=Confidence.LIKELY,
)

EVERYTHING = Kept(
    Snapshot(
        "chat",
        OLD,
        Rules(),
        "a1b2",
        state=PoolState.SURGING_STARTING,
        epoch=17,
        since=1000.0,
        deadline=1120.5,
        not_before=1060.25,
        awaits=Awaits.WINDOW,
        intent=Intent.RUN_WHEN_LOADED,
        engines=(
            Instance(
                3,
                "chat.3.a1b2",
                OLD,
                EngineHandle("local", "chat.3.a1b2", "127.0.0.1", 8080, 4711, "b00t", 123456, "more", 2),
                launched_at=900.0,
                log_begin=4096,
                healthy_at=910.125,
                kill_at=1010.0,
                exit=ExitStatus(code=1),
            ),
            Instance(4, "chat.4.a1b2", NEW, aside=True, failure=CAUSE),
        ),
        serving=3,
        generation=4,
        plan=Plan(NEW, Strategy.SURGE, drain_deadline=30.0, cause=CAUSE),
        circuits=(
            Circuit("general", failures=2),
            Circuit("GPU-0", BreakerState.TRIAL, 5, 2, 600.0, 1700.1, "chat", shared=True, fault=FAULT),
        ),
        cause=CAUSE,
        crash_count=2,
        crashes=(Crash(880.0, FailureClass.CUDA), Crash(890.0, FailureClass.EXIT)),
        restart_count=1,
        restarts=(881.0,),
        storm=Storm(890.0, "cuda_storm", 10, 60.0, "look at the device"),
        quarantine=(Instance(2, "chat.2.a1b2", OLD),),
    ),
    Moment("b00t", 1000.5, 1.7e9),
    "local",
    declared=Target("file:/old.gguf"),
    next_token=2**33,
)
"""Every class that is stored, and every field of it with another value than its default."""

WRITTEN = r"""
{"snapshot": {
   "pool_id": "chat", "target": {"model": "file:/old.gguf", "digest": null, "variant": ""}, "lineage": "a1b2",
   "state": "surging.starting", "epoch": 17, "since": 1000.0, "deadline": 1120.5, "not_before": 1060.25,
   "awaits": "window", "intent": "run_when_loaded",
   "engines": [
     {"generation": 3, "token": "chat.3.a1b2",
      "target": {"model": "file:/old.gguf", "digest": null, "variant": ""},
      "handle": {"driver": "local", "token": "chat.3.a1b2", "host": "127.0.0.1", "port": 8080, "pid": 4711,
                 "boot_id": "b00t", "start_ticks": 123456, "details": "more", "version": 2},
      "launched_at": 900.0, "log_begin": 4096, "aside": false, "healthy_at": 910.125, "kill_at": 1010.0,
      "exit": {"code": 1, "signal": null, "clues": []}, "failure": null},
     {"generation": 4, "token": "chat.4.a1b2",
      "target": {"model": "file:/new.gguf", "digest": "sha256:6e", "variant": "c0de"},
      "handle": null, "launched_at": null, "log_begin": 0, "aside": true, "healthy_at": null, "kill_at": null,
      "exit": null, "failure": CAUSE}],
   "serving": 3, "generation": 4,
   "plan": {"target": {"model": "file:/new.gguf", "digest": "sha256:6e", "variant": "c0de"},
            "strategy": "surge", "drain_deadline": 30.0, "cause": CAUSE},
   "circuits": [
     {"name": "general", "state": "closed", "failures": 2, "openings": 0, "timeout": 0.0, "until": null,
      "holder": null, "shared": false, "fault": null},
     {"name": "GPU-0", "state": "trial", "failures": 5, "openings": 2, "timeout": 600.0, "until": 1700.1,
      "holder": "chat", "shared": true,
      "fault": {"uuid": "GPU-0", "code": 79, "message": "it has fallen off the bus", "kind": "lost"}}],
   "cause": CAUSE,
   "crash_count": 2, "crashes": [{"at": 880.0, "kind": "cuda"}, {"at": 890.0, "kind": "exit"}],
   "restart_count": 1, "restarts": [881.0],
   "storm": {"at": 890.0, "kind": "cuda_storm", "restarts": 10, "period": 60.0,
             "remedy": "look at the device"},
   "quarantine": [
     {"generation": 2, "token": "chat.2.a1b2",
      "target": {"model": "file:/old.gguf", "digest": null, "variant": ""},
      "handle": null, "launched_at": null, "log_begin": 0, "aside": false,
      "healthy_at": null, "kill_at": null, "exit": null, "failure": null}]},
 "moment": {"clock": "b00t", "at": 1000.5, "wall": 1700000000.0},
 "launcher": "local", "declared": {"model": "file:/old.gguf", "digest": null, "variant": ""},
 "next_token": 8589934592}
""".replace(
    "CAUSE",
    r"""{"kind": "out_of_memory", "stage": "warm-up", "message": "it was \"killed\" \u2620", "heals": false,
         "remedy": "more memory", "evidence": ["first", "second"], "confidence": "likely",
         "exit": {"code": null, "signal": 9,
                  "clues": [{"kind": "oom_kill", "detail": "the kernel says so", "proof": true}]}}""",
)
"""What a store may have since today. If this has to change, stored documents need a migration."""

HOST = KeptHost(
    Moment("b00t", 1000.5, 1.7e9),
    full_at=1001.5,
    circuits=(Circuit("GPU-0", shared=True),),
    failed_at=(("GPU-0", "chat", 990.5),),
    tokens_from=3,
)
HOST_WRITTEN = """
{"moment": {"clock": "b00t", "at": 1000.5, "wall": 1700000000.0}, "full_at": 1001.5,
 "circuits": [{"name": "GPU-0", "state": "closed", "failures": 0, "openings": 0, "timeout": 0.0,
               "until": null, "holder": null, "shared": true, "fault": null}],
 "failed_at": [["GPU-0", "chat", 990.5]], "tokens_from": 3}
"""

LEASE = KeptLease(7, 3, "http://127.0.0.1:8080", "req-17", "inference", 1000.0, 1300.0)
LEASE_WRITTEN = """
{"token": 7, "generation": 3, "url": "http://127.0.0.1:8080", "holder": "req-17", "kind": "inference",
 "since": 1000.0, "expires_at": 1300.0}
"""

PASSAGE = Passage(
    "chat", 1.7e9, "failed", "starting", "recovering", "it ended", "mark", 3, "run failed: it ended"
)
PASSAGE_WRITTEN = """
{"pool_id": "chat", "at": 1700000000.0, "event": "failed", "source": "starting", "target": "recovering",
 "why": "it ended", "mark": "mark", "generation": 3, "cause": "run failed: it ended"}
"""

FORMS: tuple[tuple[Callable[[Any], str], Callable[[str], Any], Any, str], ...] = (
    (dump, load, EVERYTHING, WRITTEN),
    (dump_host, load_host, HOST, HOST_WRITTEN),
    (dump_lease, load_lease, LEASE, LEASE_WRITTEN),
    (dump_passage, load_passage, PASSAGE, PASSAGE_WRITTEN),
)
every_form = pytest.mark.parametrize(
    ("write", "read", "value", "written"), FORMS, ids=[type(form[2]).__name__ for form in FORMS]
)
