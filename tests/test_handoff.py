"""The handoff document: complete, private, never half written; and nothing of a wrong type gets in."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle import handoff
from pool_lifecycle.errors import HandoffError, StateDirError
from pool_lifecycle.handoff import Handoff
from pool_lifecycle.redaction import HIDDEN, hide_secrets
from pool_lifecycle.spec import EngineSpec, PoolSpec

READY = Handoff(
    pool_id="chat",
    replica_id="r0",
    engine="llama.cpp",
    url="http://127.0.0.1:8080",
    slots=4,
    engine_version="b4000",
    model_path="/models/a.gguf",
    flags=("--ctx-size", "4096"),
    device_mask="0,1",
)


def test_the_document_has_every_field_by_its_name() -> None:
    """B-PRELOAD-040..044: indented JSON."""
    text = READY.to_json()
    assert json.loads(text) == {
        "engine": "llama.cpp",
        "engine_version": "b4000",
        "url": "http://127.0.0.1:8080",
        "pool_id": "chat",
        "replica_id": "r0",
        "model": {"path": "/models/a.gguf"},
        "flags": ["--ctx-size", "4096"],
        "provisioning_mode": "local",
        "device_mask": "0,1",
        "slots": 4,
    }
    assert '\n  "engine": ' in text
    assert text.endswith("}\n")


def test_the_handoff_of_a_declared_pool() -> None:
    """Profile, launcher, arguments, slots and mask come from the declaration."""
    engine = EngineSpec(binary="llama-server", profile="llama.cpp", args=("-c", "1"), version="b1")
    spec = PoolSpec(pool_id="chat", engine=engine, slots=2, device_mask="0", replica_id="r1", launcher="x")
    made = Handoff.of(spec, url="http://h:1", model_path="/m", engine_version="b2")
    assert made == Handoff("chat", "r1", "llama.cpp", "http://h:1", 2, "b2", "/m", ("-c", "1"), "x", "0")
    assert Handoff.of(spec, url="http://h:1", model_path=None).engine_version == "b1"


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (["--api-key", "hunter2", "-c", "1"], ("--api-key", HIDDEN, "-c", "1")),
        (["--api-key=hunter2"], (f"--api-key={HIDDEN}",)),
        (["--api_key", "hunter2"], ("--api_key", HIDDEN)),
        (["-hft", "hunter2"], ("-hft", HIDDEN)),
        (["--HF-TOKEN", "-hunter2"], ("--HF-TOKEN", HIDDEN)),
        (["--password"], ("--password",)),
        (["--tokenizer", "a", "--max-tokens=5"], ("--tokenizer", "a", "--max-tokens=5")),
        (["key", "value", "token=a"], ("key", "value", "token=a")),
    ],
)
def test_secrets_among_the_flags_are_hidden(flags: list[str], shown: tuple[str, ...]) -> None:
    """S18: no value of a key, token or password; what only sounds alike is kept."""
    assert hide_secrets(flags) == shown


def test_no_handoff_can_hold_a_secret_flag() -> None:
    """S18: hidden when the value is made, so that neither file nor repr has it."""
    made = Handoff("chat", "0", "vllm", "http://h", 1, flags=("--api-key", "hunter2"))
    assert "hunter2" not in made.to_json() + repr(made)


# --- the file --------------------------------------------------------------------------------------


def test_the_file_holds_the_document_for_our_own_user(tmp_path: Path) -> None:
    """Mode 0600, whatever the umask says, and nothing else in the folder."""
    path = tmp_path / "chat.json"
    before = os.umask(0)
    try:
        READY.write(path)
    finally:
        os.umask(before)
    assert path.read_text() == READY.to_json()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["chat.json"]


def test_a_new_document_replaces_the_old_file(tmp_path: Path) -> None:
    """A reader that has the old file open keeps reading the old document: nothing is written into it."""
    path = tmp_path / "chat.json"
    path.write_text("old")
    with path.open() as reader:
        READY.write(path)
        assert reader.read() == "old"
    assert path.read_text() == READY.to_json()


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """Neither under the file's own name nor under that of its unfinished part."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    for name in ("chat.json", ".chat.json.part"):
        (tmp_path / name).symlink_to(victim)
    READY.write(tmp_path / "chat.json")
    assert victim.read_text() == "untouched"
    assert (tmp_path / "chat.json").is_symlink() is False
    assert sorted(os.listdir(tmp_path)) == ["chat.json", "victim"]


def test_a_part_left_by_a_killed_manager_is_in_nobody_s_way(tmp_path: Path) -> None:
    """It is replaced, and there is never more than one."""
    (tmp_path / ".chat.json.part").write_text("half")
    READY.write(tmp_path / "chat.json")
    assert os.listdir(tmp_path) == ["chat.json"]


@pytest.mark.parametrize("make_folder", [False, True], ids=["no folder", "a folder in the way"])
def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path, make_folder: bool) -> None:
    """It names pool and file, and leaves nothing behind."""
    path = tmp_path / "engines" / "chat.json"
    if make_folder:
        path.mkdir(parents=True)
    with pytest.raises(StateDirError, match=r"chat\.json") as caught:
        READY.write(path)
    assert caught.value.pool_id == "chat"
    assert caught.value.remedy
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_in_the_way_of_the_part_is_a_clear_error(tmp_path: Path) -> None:
    """Nothing of ours makes one, so that it is left to whoever did."""
    (tmp_path / ".chat.json.part").mkdir()
    with pytest.raises(StateDirError, match=r"chat\.json"):
        READY.write(tmp_path / "chat.json")
    assert os.listdir(tmp_path) == [".chat.json.part"]


def test_removing_says_whether_there_was_a_file(tmp_path: Path) -> None:
    """Removing twice is no error."""
    READY.write(tmp_path / "chat.json")
    assert handoff.remove(tmp_path / "chat.json") is True
    assert handoff.remove(tmp_path / "chat.json") is False


# --- reading a document ----------------------------------------------------------------------------


def test_the_address_of_a_document_is_that_of_the_engine(tmp_path: Path) -> None:
    """So that who goes on knows whether it names the engine that serves."""
    path = tmp_path / "chat.json"
    Handoff.of(PoolSpec("chat", EngineSpec("engine")), url="http://here:80", model_path=None).write(path)
    assert handoff.url_at(path) == "http://here:80"


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null", '{"url": 7}', '{"pool_id": "chat"}', "\xff"])
def test_what_is_no_document_has_no_address(tmp_path: Path, text: str | None) -> None:
    """Whatever lies there, or nothing."""
    path = tmp_path / "chat.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    assert handoff.url_at(path) is None


def test_our_own_document_can_be_read_back() -> None:
    """What one manager writes another registry takes."""
    assert handoff.read(json.loads(READY.to_json())) == {
        "engine_version": "b4000",
        "device_mask": "0,1",
        "slots_total": 4,
        "slots_free": 4,
    }


def test_absent_fields_stay_absent_and_unknown_ones_are_ignored() -> None:
    """B-REG-100..107."""
    assert handoff.read({"unknown": object(), "url": "http://h"}) == {}
    assert handoff.read({"slots_free": 1}) == {"slots_free": 1}
    assert handoff.read({"slots": 4, "slots_free": 1}) == {"slots_total": 4, "slots_free": 1}
    assert handoff.read({"device_mask": None}) == {"device_mask": None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("engine", None),
        ("engine_version", 5),
        ("url", ["http://h"]),
        ("pool_id", 5),
        ("replica_id", 0),
        ("model", "/models/a.gguf"),
        ("model", {"path": 5}),
        ("flags", "--ctx-size"),
        ("flags", [1]),
        ("provisioning_mode", {}),
        ("device_mask", 0),
        ("slots", "4"),
        ("slots", True),
        ("slots", None),
        ("slots_total", 4.0),
        ("slots_free", "all"),
    ],
)
def test_a_wrong_type_is_refused_by_its_name(name: str, value: object) -> None:
    """B-REG-107: the error names the field and says what would be valid."""
    with pytest.raises(HandoffError, match=f"'{name}'") as caught:
        handoff.read({"engine": "x", name: value})
    assert caught.value.field == name
    assert caught.value.remedy


@pytest.mark.parametrize("document", [None, [], "text", 5])
def test_a_document_that_is_no_object_is_refused(document: object) -> None:
    """Whatever came in place of a handoff."""
    with pytest.raises(HandoffError, match="an object"):
        handoff.read(document)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("4", "'4'"), ("x" * 80, "x" * 80), ("x" * 81, "x" * 77 + "..."), (4.5, "4.5"), ([4], "'list'")],
)
def test_an_error_shows_what_was_wrong(value: object, shown: str) -> None:
    """Short values as they are, long ones cut, and of nested ones the type."""
    with pytest.raises(HandoffError) as caught:
        handoff.read({"slots": value})
    assert shown in str(caught.value)


def test_an_error_never_quotes_a_whole_foreign_document() -> None:
    """Hostile input does not fill the log."""
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    for value in ("x" * 1_000_000, nested):
        with pytest.raises(HandoffError) as caught:
            handoff.read({"slots": value})
        assert len(str(caught.value)) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(READY.document())) | st.text(), JSON) | JSON)
def test_whatever_comes_is_read_or_refused(document: object) -> None:
    """Hostile documents: either fields of the right types, or a HandoffError; nothing else."""
    try:
        fields = handoff.read(document)
    except HandoffError:
        return
    for name, value in fields.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        assert whole if name.startswith("slots") else value is None or isinstance(value, str)
