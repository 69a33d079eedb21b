"""The stager for the hub, with a server that speaks as much of it as is needed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import StagedModel
from pool_lifecycle.testing.check_model_stager import check_model_stager
from pool_lifecycle_drivers.stage_hub import HubStager
from tests.hostile_models import Models, Page, serving

constants = pytest.importorskip("huggingface_hub.constants")

Run = Callable[[Coroutine[Any, Any, Any]], Any]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = hashlib.sha256(b"a model").digest() * 4096
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
STORED = {"lfs": {"sha256": DIGEST[7:], "size": len(CONTENT)}}
EMPTY = b"\2\0\0\0\0\0\0\0{}"
INDEX = json.dumps({"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}).encode()
WHOLE = {
    "model.safetensors.index.json": INDEX,
    "m-1.safetensors": EMPTY,
    "m-2.safetensors": b"\3\0\0\0\0\0\0\0{} ",
    "config.json": b"{}",
    "README.md": b"words",
    "onnx/model.onnx": b"another format",
}
KEPT = ["config.json", "m-1.safetensors", "m-2.safetensors", "model.safetensors.index.json"]


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token, no cache and no wish to stay offline of whoever runs the tests."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def models() -> Iterator[Models]:
    with serving() as served:
        served.hub(
            "org/repo", {"Q4/a.bin": CONTENT, "b.bin": b"small"}, commit=COMMIT, told={"Q4/a.bin": STORED}
        )
        served.hub("org/whole", WHOLE, commit=COMMIT, told={})
        yield served


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], HubStager]]:
    made: list[HubStager] = []

    def new(endpoint: str) -> HubStager:
        stager = HubStager(endpoint=endpoint, timeout=30)
        stager.keep_in(folder=str(tmp_path / "cache"), limit=None, in_use=frozenset)
        made.append(stager)
        return stager

    yield new
    for stager in made:
        stager.cache.holds.close()


Make = Callable[[str], HubStager]
NOWHERE = "http://127.0.0.1:1"
"""Where nobody listens: the port is reserved."""


def stage(run_real: Run, stager: HubStager, reference: str, digest: str | None = None) -> StagedModel:
    staged = run_real(stager.stage(reference=reference, digest=digest, progress=lambda _: None))
    assert isinstance(staged, StagedModel)
    return staged


def refusal(run_real: Run, stager: HubStager, reference: str, digest: str | None = None) -> DriverError:
    with pytest.raises(DriverError) as caught:
        stage(run_real, stager, reference, digest)
    assert caught.value.driver == "hub"
    return caught.value


def in_hub_cache(tmp_path: Path, repository: str, files: dict[str, bytes]) -> Path:
    """What huggingface_hub leaves when it has fetched a repository's files."""
    folder = tmp_path / "hub" / ("models--" + repository.replace("/", "--"))
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    for name, content in files.items():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(content)
    return snapshot


@pytest.mark.slow
def test_it_keeps_the_promises_of_a_model_stager(run_real: Run, make: Make, models: Models) -> None:
    """The public conformance check, digest and shared downloads included."""
    run_real(
        check_model_stager(
            lambda: make(models.url),
            reference="hf:org/repo::file=Q4/a.bin",
            missing="hf:org/none",
            digest=DIGEST,
            fetches=lambda: sum("resolve" in one.path for one in models.asked),
        )
    )


@pytest.mark.slow
def test_a_whole_model_is_its_safetensors(run_real: Run, make: Make, models: Models) -> None:
    """With what lies beside them, and nothing of other formats."""
    staged = stage(run_real, make(models.url), "hf:org/whole")
    assert os.path.basename(staged.path) == "whole"
    assert sorted(os.listdir(staged.path)) == KEPT


@pytest.mark.slow
def test_a_model_with_a_part_missing_is_refused(run_real: Run, make: Make, models: Models) -> None:
    """Complete or not at all; before a byte of it is fetched."""
    files = {name: content for name, content in WHOLE.items() if name != "m-2.safetensors"}
    models.hub("org/half", files, commit=COMMIT, told={})
    cause = refusal(run_real, make(models.url), "hf:org/half").cause
    assert "'m-2.safetensors' first" in cause.message
    assert not cause.heals


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("hf:org/repo::file=none.bin", "there is no 'none.bin'"),
        ("hf:org/repo", "there are no safetensors"),
        ("hf:org/none", "404"),
        ("hf:org/repo@none", "404"),
        ("hf:org/repo::file=../x", "hf:org/repo@revision::file=path"),
        ("https://host/a.bin", "use the stager 'fsspec'"),
    ],
)
def test_what_is_not_there_is_refused_for_good(
    run_real: Run, make: Make, models: Models, reference: str, words: str
) -> None:
    """With what is wrong about it."""
    cause = refusal(run_real, make(models.url), reference).cause
    assert words in cause.message + cause.remedy
    assert not cause.heals


@pytest.mark.slow
def test_a_download_is_gone_on_with_by_its_commit(run_real: Run, make: Make, models: Models) -> None:
    """Whatever validator the store behind the hub may give."""
    page = models.pages[f"/org/repo/resolve/{COMMIT}/Q4/a.bin"]
    page.cut, page.tag = 50_000, '"today\'s"'
    reference = "hf:org/repo::file=Q4/a.bin"
    assert refusal(run_real, make(models.url), reference).cause.heals
    page.cut, page.tag = None, '"tomorrow\'s"'
    assert stage(run_real, make(models.url), reference).digest == DIGEST
    assert [one for one in models.ranges() if one] == ["bytes=50000-"]


@pytest.mark.slow
def test_bytes_that_the_hub_does_not_vouch_for_are_refused(run_real: Run, make: Make, models: Models) -> None:
    """Its own digest is verified; so is its own length."""
    page = models.pages[f"/org/repo/resolve/{COMMIT}/Q4/a.bin"]
    for wrong in (CONTENT[::-1], CONTENT[:-1]):
        page.content = wrong
        cause = refusal(run_real, make(models.url), "hf:org/repo::file=Q4/a.bin").cause
        assert cause.heals
    page.content = CONTENT
    assert stage(run_real, make(models.url), "hf:org/repo::file=Q4/a.bin").digest == DIGEST


@pytest.mark.slow
@pytest.mark.parametrize("answer", [b"", b"[]", b"<html>", b"{}", b'{"sha": "../..", "siblings": []}'])
def test_an_answer_that_makes_no_sense_is_told(
    run_real: Run, make: Make, models: Models, answer: bytes
) -> None:
    """Something else answers in the hub's place."""
    models.pages["/api/models/org/odd/revision/main"] = Page(answer)
    cause = refusal(run_real, make(models.url), "hf:org/odd").cause
    assert "makes no sense" in cause.message


@pytest.mark.slow
def test_the_users_token_is_sent(
    run_real: Run, make: Make, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As huggingface_hub knows it; a model that needs one is asked for with it."""
    stage(run_real, make(models.url), "hf:org/repo::file=b.bin")
    assert not any("authorization" in one.headers for one in models.asked)
    models.asked.clear()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    stage(run_real, make(models.url), "hf:org/repo::file=Q4/a.bin")
    assert {one.headers.get("authorization") for one in models.asked} == {"Bearer hf_secret"}


@pytest.mark.slow
def test_a_commit_is_not_asked_for_again(run_real: Run, make: Make, models: Models) -> None:
    """Nor is the network needed; a branch has to be asked for."""
    pinned = f"hf:org/repo@{COMMIT}::file=Q4/a.bin"
    first = stage(run_real, make(models.url), pinned)
    assert stage(run_real, make(NOWHERE), pinned) == first
    stage(run_real, make(models.url), "hf:org/repo::file=Q4/a.bin")
    cause = refusal(run_real, make(NOWHERE), "hf:org/repo::file=Q4/a.bin").cause
    assert (cause.heals, DIGEST in cause.remedy) == (True, True)


@pytest.mark.slow
def test_offline_on_purpose_what_was_fetched_last_is_used(
    run_real: Run, make: Make, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_HUB_OFFLINE says so; nobody is asked."""
    first = stage(run_real, make(models.url), "hf:org/repo::file=Q4/a.bin")
    models.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert stage(run_real, make(models.url), "hf:org/repo::file=Q4/a.bin") == first
    cause = refusal(run_real, make(models.url), "hf:org/whole").cause
    assert "HF_HUB_OFFLINE" in cause.message
    assert not models.asked


def test_offline_what_the_hubs_own_tools_fetched_is_used_in_its_place(
    run_real: Run, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file by its name, a whole model as its folder; nothing is copied, and nothing removed."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = in_hub_cache(tmp_path, "org/both", {**WHOLE, "Q4/a.bin": CONTENT})
    stager = make(NOWHERE)
    single = stage(run_real, stager, "hf:org/both::file=Q4/a.bin", DIGEST)
    assert (single.path, single.digest) == (str(snapshot / "Q4" / "a.bin"), DIGEST)
    whole = stage(run_real, stager, f"hf:org/both@{COMMIT}")
    assert whole.path == str(snapshot)
    assert run_real(stager.resolve(reference="hf:org/both")).size == whole.size
    assert not refusal(run_real, stager, "hf:org/both::file=Q4/a.bin", "sha256:" + "0" * 64).cause.heals
    assert run_real(stager.evict(model=single)) is False
    (snapshot / "m-2.safetensors").unlink()
    refusal(run_real, stager, "hf:org/both")


@pytest.mark.slow
def test_while_the_hub_is_away_only_what_is_sure_is_used_in_its_place(
    run_real: Run, make: Make, tmp_path: Path
) -> None:
    """A commit is; a branch may have moved on."""
    in_hub_cache(tmp_path, "org/repo", {"a.bin": CONTENT})
    assert stage(run_real, make(NOWHERE), f"hf:org/repo@{COMMIT}::file=a.bin").digest == DIGEST
    assert refusal(run_real, make(NOWHERE), "hf:org/repo::file=a.bin").cause.heals
    assert stage(run_real, make(NOWHERE), "hf:org/repo::file=a.bin", DIGEST).digest == DIGEST


def test_without_huggingface_hub_the_extra_is_named(
    run_real: Run, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever forgot it is told what to install."""
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", None)
    cause = refusal(run_real, make(NOWHERE), "hf:org/repo").cause
    assert (cause.heals, "pool-lifecycle[staging]" in cause.remedy) == (False, True)


@pytest.mark.slow
def test_endpoint_and_cache_are_the_users_own(tmp_path: Path, models: Models) -> None:
    """HF_ENDPOINT and XDG_CACHE_HOME, in a program of its own, which asks for nothing else."""
    program = (
        "import asyncio; from pool_lifecycle_drivers.stage_hub import HubStager\n"
        "stager = HubStager()\n"
        "print(asyncio.run(stager.stage(reference='hf:org/repo::file=Q4/a.bin', digest=None,"
        " progress=lambda _: None)).path)"
    )
    told = {
        "HF_ENDPOINT": models.url,
        "XDG_CACHE_HOME": str(tmp_path / "xdg"),
        "HF_HOME": str(tmp_path / "hf"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(tmp_path / "xdg" / "pool-lifecycle" / "models" / "blobs"))
