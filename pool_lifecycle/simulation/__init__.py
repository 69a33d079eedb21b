"""Replays crash traces against a configuration, to see what its policies make of them.

    config = load("pools.toml")
    trace = load_trace("crashes.jsonl", [spec.pool_id for spec in config.pools])
    timeline = replay(config, trace)
    Path("crashes.svg").write_text(picture(timeline))

What is shown is what would happen: the manager, the pools and all their policies are the real ones; only
engines, models and time are simulated.
"""

from pool_lifecycle.simulation.picture import picture
from pool_lifecycle.simulation.replay import replay
from pool_lifecycle.simulation.report import as_json, as_text
from pool_lifecycle.simulation.timeline import Timeline
from pool_lifecycle.simulation.trace import WEEK, Action, Run, Trace
from pool_lifecycle.simulation.trace import load as load_trace

__all__ = [
    "WEEK",
    "Action",
    "Run",
    "Timeline",
    "Trace",
    "as_json",
    "as_text",
    "load_trace",
    "picture",
    "replay",
]
