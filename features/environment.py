"""Every scenario gets a world of its own, and has to leave nothing behind."""

from __future__ import annotations

import faulthandler
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent / "examples"))  # for the engine kit

from features.world import World
from pool_lifecycle.logs import LOGGER

TOO_LONG = 120.0
"""Real seconds. A scenario that hangs says where, and ends the run."""

STDERR = 2
"""By number: behave replaces the object while it captures."""


def before_all(context: Any) -> None:
    """What the library logs is kept by each world, and shown when a scenario has failed."""
    del context
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False
    logging.getLogger("transitions").setLevel(logging.WARNING)


def before_scenario(context: Any, scenario: Any) -> None:
    """Make the world."""
    faulthandler.dump_traceback_later(TOO_LONG, exit=True, file=STDERR)
    context.world = World(real="real" in scenario.effective_tags)
    context.world.open()


def after_scenario(context: Any, scenario: Any) -> None:
    """End the world."""
    if scenario.status.name != "passed":
        sys.stdout.write("".join(f"    {line}\n" for line in context.world.log.lines()))
    context.world.close()
    faulthandler.cancel_dump_traceback_later()
