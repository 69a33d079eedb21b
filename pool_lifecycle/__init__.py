"""The life of a model server as an explicit state machine, with pluggable drivers.

    async with PoolManager(state_dir) as manager:
        pool = await manager.add(PoolSpec("chat", EngineSpec("llama-server", profile="llama.cpp"), model=...))
        await pool.start()
        async with pool.lease("req-17") as lease:
            ...                                   # lease.url, lease.generation
        outcome = await pool.drain(deadline=5)

`lifecycle` has the table that is the behaviour of a pool, `step` the pure function that runs it,
`interfaces` what a driver is, `errors` everything that can go wrong, `records` what observers are told,
`testing` what makes tests of all this quick and certain.
"""

from importlib.metadata import version

from pool_lifecycle.applying import Applied
from pool_lifecycle.blocking import BlockingManager
from pool_lifecycle.causes import Cause, ExitStatus, FailureClass
from pool_lifecycle.circuit_breaker import CircuitBreaker
from pool_lifecycle.errors import CircuitOpen, PoolLifecycleError
from pool_lifecycle.events import Strategy
from pool_lifecycle.lease import Lease
from pool_lifecycle.lifecycle import LIFECYCLE, PoolEvent, PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.plan import Plan
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import DrainEnd, DrainOutcome
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.blame import Blame
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.restart.classes import ClassPolicies, ClassPolicy
from pool_lifecycle.restart.window import Window
from pool_lifecycle.snapshot import Snapshot
from pool_lifecycle.spec import EngineSpec, HealthSpec, Limits, Models, PoolSpec, ReloadSpec
from pool_lifecycle.status import PoolStatus
from pool_lifecycle.step import step

__version__ = version("pool-lifecycle")

__all__ = [
    "LIFECYCLE",
    "Applied",
    "Backoff",
    "Blame",
    "BlockingManager",
    "Breaker",
    "Budget",
    "Cause",
    "CircuitBreaker",
    "CircuitOpen",
    "ClassPolicies",
    "ClassPolicy",
    "DrainEnd",
    "DrainOutcome",
    "Drivers",
    "EngineSpec",
    "ExitStatus",
    "FailureClass",
    "HealthSpec",
    "Interface",
    "Lease",
    "Limits",
    "Models",
    "Plan",
    "Pool",
    "PoolEvent",
    "PoolLifecycleError",
    "PoolManager",
    "PoolSpec",
    "PoolState",
    "PoolStatus",
    "ReloadSpec",
    "Snapshot",
    "Strategy",
    "Window",
    "step",
]
