"""Steps about models and how they are put in place."""

from __future__ import annotations

from features.vocabulary import given
from features.world import World
from pool_lifecycle import Cause, FailureClass
from pool_lifecycle.causes import Stage
from pool_lifecycle.testing.memory import StageScript


@given("a model that cannot be put in place")
def cannot(world: World) -> None:
    error = Cause(FailureClass.STAGING, Stage.STAGING, "the disk is full")
    world.cast.staging = StageScript(error=error)


@given("a model that takes {time:Duration} to be put in place, with progress every {gap:Duration}")
def takes(world: World, time: float, gap: float) -> None:
    world.cast.staging = StageScript(takes=time, steps=round(time / gap))


@given("a model that does not exist")
def does_not_exist(world: World) -> None:
    world.declare(model=f"file:{world.folder / 'nothing.gguf'}")
