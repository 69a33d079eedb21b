"""What an engine is launched with, and what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.events import Target
from pool_lifecycle.interfaces import EngineProfile, LaunchRequest, ModelDetails, ModelInfo, StagedModel
from pool_lifecycle.requests import needs, request_for
from pool_lifecycle.snapshot import Instance
from pool_lifecycle.statedir import StateDir
from pool_lifecycle.testing.memory import MemoryProfile
from pool_lifecycle_drivers.profile_llamacpp import LlamaCppProfile
from pool_lifecycle_drivers.profile_vllm import VllmProfile
from tests.worlds import a_spec

UNKNOWN, SIZED = ModelInfo("file:/a", "a"), ModelInfo("file:/a", "a", 1000)
READ = ModelInfo("file:/a", "a", 1000, ModelDetails("gguf", memory=1300))
HEADER_WITHOUT_MEMORY = ModelInfo("file:/a", "a", 1000, ModelDetails("gguf"))
STAGED = StagedModel("file:/a", "/a", 1000, "sha256:0", ModelDetails("gguf", memory=1300))


def of(engine: dict[str, Any], mask: str | None, model: Any) -> tuple[int | None, int | None]:
    return needs(a_spec(engine=engine, device_mask=mask), model)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (None, None),
        (UNKNOWN, None),
        (SIZED, 1000),
        (READ, 1300),
        (HEADER_WITHOUT_MEMORY, 1000),
        (STAGED, 1300),
    ],
)
def test_what_is_known_of_a_model_says_what_its_engine_takes(model: Any, expected: int | None) -> None:
    """B-RELOAD-x2: its header's estimate, else its size; without a device all of it is the host's."""
    assert of({}, None, model) == (expected, None)


@pytest.mark.parametrize("model", [None, SIZED, READ])
def test_what_is_declared_comes_first(model: Any) -> None:
    """Who declares it has measured."""
    assert of({"memory": 7, "device_memory": 9}, None, model) == (7, 9)
    assert of({"memory": 7, "device_memory": 9}, "0,1", model) == (7, 9)


def test_a_model_is_on_its_devices_in_equal_parts() -> None:
    """Not on the host; a part is never too small by rounding."""
    assert of({}, "0", READ) == (None, 1300)
    assert of({}, "0,1,2", READ) == (None, 434)
    assert of({"memory": 5}, "0,1", READ) == (5, 650)
    assert of({}, "0", UNKNOWN) == (None, None)


def request(*, aside: bool = False, **spec: Any) -> LaunchRequest:
    declared = a_spec(**spec)
    instance = Instance(3, "chat.3.x", Target("file:/a"), aside=aside)
    paths = StateDir(Path("/state"))
    profile = MemoryProfile()
    return request_for(declared, instance, port=80, model_path="/a", profile=profile, paths=paths)


def test_two_engines_side_by_side_have_files_of_their_own() -> None:
    """S5: the pid of one never hides that of the other, nor its words."""
    one, other = request(), request(aside=True)
    assert (one.log_path, one.pid_path) == ("/state/logs/chat.log", "/state/run/chat.pid")
    assert (other.log_path, other.pid_path) == ("/state/logs/chat+.log", "/state/run/chat+.pid")


def test_only_what_is_to_end_with_its_manager_is_guarded() -> None:
    """`on_manager_exit`: with the time it has between the two signals."""
    assert request().orphan_grace == a_spec().limits.stop_grace
    assert request(on_manager_exit="keep").orphan_grace is None


def test_an_engine_is_told_how_its_model_is_split() -> None:
    """B-HETERO-005, 006: in its own words, before what is declared, which has the last word; else nothing."""
    instance, paths = Instance(3, "chat.3.x", Target("file:/a")), StateDir(Path("/state"))
    declared = a_spec(engine={"args": ("--fast",)}, device_mask="0,1")

    def said(profile: EngineProfile, ratios: tuple[float, ...]) -> tuple[str, ...]:
        made = request_for(
            declared, instance, port=80, model_path="/a", profile=profile, paths=paths, ratios=ratios
        )
        return made.command.argv

    assert said(LlamaCppProfile(), (0.75, 0.25))[-3:] == ("--tensor-split", "0.75,0.25", "--fast")
    assert said(VllmProfile(), (0.5, 0.5))[-3:] == ("--tensor-parallel-size", "2", "--fast")
    assert "--tensor-split" not in said(LlamaCppProfile(), ())


def test_declared_variables_win_over_those_of_the_mask() -> None:
    """What people declare for the engine comes last."""
    env = request(device_mask="0", engine={"env": {"CUDA_VISIBLE_DEVICES": "7"}}).command.env
    assert dict(env)["CUDA_VISIBLE_DEVICES"] == "7"
    assert dict(request(device_mask="0").command.env)["CUDA_VISIBLE_DEVICES"] == "0"
