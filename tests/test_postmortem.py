"""After the end of an engine: what its own words are taken for."""

from __future__ import annotations

import asyncio

import pytest

from pool_lifecycle.causes import ExitStatus, FailureClass
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.interfaces import Pattern
from pool_lifecycle.testing.memory import MemoryProfile
from tests.worlds import NEVER_READY, WORKS, a_world, virtually

# --- what an ending says --------------------------------------------------------------------------------


class Wordy(MemoryProfile):
    """Knows what its engine means."""

    patterns = (Pattern("unknown argument", FailureClass.BAD_CONFIG, heals=False, remedy="mend the flag"),)


@virtually
async def test_known_last_words_keep_a_start_from_being_tried_again() -> None:
    """B-PRELOAD-x1: a bad flag cannot heal by itself, and the engine's own log says so."""
    async with a_world(NEVER_READY, WORKS, profile=Wordy()) as world:
        starting = await world.began(world.pool.start())
        world.engine.say("error: unknown argument: --fast")
        world.engine.crash(ExitStatus(code=1))
        with pytest.raises(StartFailed, match="it said: 'error: unknown argument: --fast'") as caught:
            await starting
        assert caught.value.remedy == "mend the flag"
        await asyncio.sleep(86400)
        assert len(world.launcher.launched) == 1
