"""Between a pool and its drivers: what is launched, and what is handed off."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from pool_lifecycle.handoff import Handoff
from pool_lifecycle.interfaces import Command, CommandContext
from pool_lifecycle.testing.memory import MemoryProfile
from tests.worlds import NEW, a_world, virtually

# --- what is launched -----------------------------------------------------------------------------------


@virtually
async def test_the_engine_is_launched_as_declared() -> None:
    """B-PRELOAD-001, B-PROC-001: binary and arguments in order; log, pid file, token, environment."""
    engine = {
        "args": ["-c", "4096", "--flag"],
        "env": {"TOKEN": "s3cret"},
        "env_passthrough": ["HOME"],
        "cwd": "/somewhere",
        "port": 12345,
    }
    async with a_world(engine=engine, device_mask="1") as world:
        await world.ready()
        (request,) = world.launcher.launched
        assert request.command.argv == ("engine", "-c", "4096", "--flag")
        assert dict(request.command.env) == {
            "CUDA_VISIBLE_DEVICES": "1",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "TOKEN": "s3cret",
        }
        assert (request.env_passthrough, request.cwd, request.port) == (("HOME",), "/somewhere", 12345)
        assert request.log_path == str(world.folder / "logs/chat.log")
        assert request.pid_path == str(world.folder / "run/chat.pid")
        assert request.token.startswith("chat.1.")
        assert (request.pool_id, request.generation, request.host) == ("chat", 1, "127.0.0.1")


class Curious(MemoryProfile):
    """Remembers what it was asked to write a command for."""

    def __init__(self) -> None:
        self.contexts: list[CommandContext] = []

    def command(self, *, context: CommandContext) -> Command:
        self.contexts.append(context)
        return super().command(context=context)


@virtually
async def test_the_profile_gets_the_staged_path_and_the_chosen_port() -> None:
    """The port that preflight looked at is the one that is launched on."""
    profile = Curious()
    async with a_world(profile=profile, slots=3) as world:
        await world.ready()
        before, at = profile.contexts
        assert before.model_path == "file:/old.gguf"  # not in place yet
        assert at.model_path == "/memory/old.gguf"
        assert before.port == at.port == world.launcher.launched[0].port
        assert at.slots == 3


@virtually
async def test_an_engine_without_a_model_needs_no_staging() -> None:
    """`model=None`."""
    async with a_world(model=None) as world:
        await world.ready()
        assert world.stager.requests == []


@virtually
async def test_every_launch_has_its_own_token() -> None:
    """S2: a restart is a new instance, in this manager or the next."""
    tokens = set()
    for _ in range(2):
        async with a_world() as world:
            await world.ready()
            await world.pool.reload(NEW)
            tokens |= {request.token for request in world.launcher.launched}
    assert len(tokens) == 4


@virtually
async def test_a_handoff_being_written_is_taken_back_by_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """B-PRELOAD-020: threads cannot be cancelled; the stop comes after the slow disk, not before it."""
    begun, go, real = threading.Event(), threading.Event(), Handoff.write

    def slowly(document: Handoff, path: Path) -> None:
        begun.set()
        go.wait()
        real(document, path)

    monkeypatch.setattr(Handoff, "write", slowly)
    async with a_world() as world:
        world.begin(world.pool.start())
        await asyncio.to_thread(begun.wait)
        stopping = world.begin(world.pool.stop())
        for _ in range(20):
            await asyncio.sleep(0)
        too_early = stopping.done()
        go.set()
        await stopping
        assert not too_early
        assert world.files == {"lock"}
