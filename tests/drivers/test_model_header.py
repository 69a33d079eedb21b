"""What a model's header tells: of a file, of a split file, of a folder; and whether all of it is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.interfaces import ModelDetails
from pool_lifecycle_drivers import model_header
from pool_lifecycle_drivers.header_bytes import JSON_LIMIT, Defect
from pool_lifecycle_drivers.model_header import Examined, details, examine
from pool_lifecycle_drivers.serving_memory import ENGINE
from tests.drivers.small_models import CACHE, CONFIG, LLAMA, SMALL, STRING, folder, gguf, safetensors, split


def found(path: Path) -> Examined:
    seen = examine(str(path))
    assert isinstance(seen, Examined), seen
    return seen


def defect(path: Path) -> str:
    seen = examine(str(path))
    assert isinstance(seen, Defect), seen
    assert seen.remedy
    assert details(path) is None
    return seen.message


def test_a_gguf_file_tells_of_itself(tmp_path: Path) -> None:
    """Whatever it is called."""
    for name in ("a.gguf", "sha256-0123", "a.GGUF", "a.safetensors"):
        path = tmp_path / name
        path.write_bytes(gguf())
        assert details(path) == SMALL
        assert found(path) == Examined((str(path),), len(gguf()), SMALL)


def test_a_safetensors_file_tells_of_its_tensors(tmp_path: Path) -> None:
    """What else there is to know stands in a configuration, in a folder."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors())
    assert details(path) == ModelDetails("safetensors", "", "BF16", 32, None, 64 + ENGINE)


def test_other_files_tell_nothing(tmp_path: Path) -> None:
    """They may well be models, for all we know."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x08\0\0\0")
    assert found(path) == Examined((str(path),), 4)
    assert details(path) is None


@pytest.mark.parametrize("path", ["/nonexistent/m.gguf", "/etc/passwd/m.gguf", "a\0b", "/dev/zero", "\ud800"])
def test_what_is_no_model_tells_nothing(path: str) -> None:
    """And raises nothing."""
    assert details(path) is None


def test_damage_is_a_defect_of_what_is_known(tmp_path: Path) -> None:
    """A file that only claims to be a model, and one cut short."""
    (tmp_path / "m.gguf").write_bytes(b"<html>404")
    assert defect(tmp_path / "m.gguf") == "is not a GGUF file: it begins with b'<htm'"
    (tmp_path / "cut").write_bytes(gguf()[:-100])
    assert "bytes of its tensors are missing" in defect(tmp_path / "cut")
    (tmp_path / "m.safetensors").write_bytes(safetensors()[:-1])
    assert "1 bytes of its tensors are missing" in defect(tmp_path / "m.safetensors")
    (tmp_path / "empty").touch()
    assert defect(tmp_path / "empty") == "is empty"
    os.mkfifo(tmp_path / "pipe")
    assert defect(tmp_path / "pipe") == "is not a regular file"


def test_a_header_that_is_not_understood_is_no_defect(tmp_path: Path) -> None:
    """Of a version that comes after us, for example."""
    (tmp_path / "m.gguf").write_bytes(gguf(version=4))
    assert found(tmp_path / "m.gguf").details is None


def test_a_header_beyond_what_is_read_is_no_defect(tmp_path: Path) -> None:
    """It only tells nothing."""
    path = tmp_path / "m.safetensors"
    path.write_bytes((JSON_LIMIT + 1).to_bytes(8, "little"))
    os.truncate(path, 2 * JSON_LIMIT)
    assert found(path).details is None


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["m.gguf", "m.safetensors", "m"]))
def test_any_bytes_are_a_model_or_a_defect(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    """FAULTS: hostile headers. Nothing is raised, whatever is in a file of any name."""
    path = tmp_path_factory.getbasetemp() / name
    for start in (b"", b"GGUF\3\0\0\0", gguf()[:60]):
        path.write_bytes(start + content)
        examine(str(path))
        details(path)


# --- split -----------------------------------------------------------------------------------------------


def test_a_split_file_is_all_its_parts(tmp_path: Path) -> None:
    """Sizes and tensors are added; the first part says the rest."""
    first = split(tmp_path / "m")
    seen = found(first)
    assert [os.path.basename(one) for one in seen.files] == [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert seen.size == sum(os.path.getsize(one) for one in seen.files)
    assert seen.details is not None
    assert seen.details.parameters == 3 * 128
    assert seen.details.architecture == "llama"
    assert seen.details.memory == 3 * 512 + CACHE + 512 * 3 * 4 + ENGINE


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    """Complete or not at all."""
    first = split(tmp_path / "m")
    (tmp_path / "m-00002-of-00003.gguf").unlink()
    assert defect(first) == "is not whole: 'm-00002-of-00003.gguf' is not there"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "'m-00003-of-00003.gguf' is empty"),
        (b"<html>", "'m-00003-of-00003.gguf' is not a GGUF file"),
        (gguf(), "'m-00003-of-00003.gguf' is not its part 3 of 3"),
        (gguf()[:-99], "bytes of its tensors are missing"),
    ],
    ids=range(4),
)
def test_a_damaged_part_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    """Each part is looked at."""
    first = split(tmp_path / "m")
    (tmp_path / "m-00003-of-00003.gguf").write_bytes(content)
    assert defect(first).startswith("is not whole: ")
    assert words in defect(first)


def test_a_part_that_is_not_understood_leaves_the_others_checked(tmp_path: Path) -> None:
    """Nothing is told, but all parts are the model's files."""
    first = split(tmp_path / "m")
    (tmp_path / "m-00002-of-00003.gguf").write_bytes(gguf(version=4))
    assert found(first).details is None
    assert len(found(first).files) == 3
    (tmp_path / "m-00003-of-00003.gguf").unlink()
    assert "'m-00003-of-00003.gguf' is not there" in defect(first)


def test_a_part_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """Nor waited for."""
    first = split(tmp_path / "m")
    (tmp_path / "m-00002-of-00003.gguf").unlink()
    os.mkfifo(tmp_path / "m-00002-of-00003.gguf")
    assert "'m-00002-of-00003.gguf' is not a regular file" in defect(first)


def test_a_later_part_is_not_the_model(tmp_path: Path) -> None:
    """Engines want the first one; they find the others by its name."""
    split(tmp_path / "m")
    assert defect(tmp_path / "m-00002-of-00003.gguf") == "is part 2 of 3 of a split model"
    first = tmp_path / "m-00001-of-00003.gguf"
    for name in ("other.gguf", "m-00001-of-00004.gguf", "m-00002-of-00003.gguf"):
        first = first.replace(tmp_path / name)
        assert "its name does not say so" in defect(first)


def test_a_name_alone_makes_no_split_model(tmp_path: Path) -> None:
    """What counts is what the header says, as for the engine."""
    path = tmp_path / "m-00001-of-00003.gguf"
    path.write_bytes(gguf())
    assert details(path) == SMALL


def test_a_part_of_absurdly_many_is_refused(tmp_path: Path) -> None:
    """Before any of them is looked for."""
    path = tmp_path / "m-00001-of-65535.gguf"
    path.write_bytes(gguf([*LLAMA, ("split.count", 2, 65535), ("split.no", 2, 0)]))
    assert defect(path) == "is split into 65535 parts, more than 2000"


# --- folders ---------------------------------------------------------------------------------------------


def test_a_folder_is_all_files_that_engines_read(tmp_path: Path) -> None:
    """Weights, configuration, index; not what else lies there."""
    model = folder(tmp_path / "m")
    (model / ".git").mkdir()
    (model / "original").mkdir()
    seen = found(model)
    assert [os.path.basename(one) for one in seen.files] == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    assert seen.size == sum(os.path.getsize(one) for one in seen.files)
    memory = 128 + CACHE + 512 * 100 * 4 + ENGINE
    assert seen.details == ModelDetails("safetensors", "LlamaForCausalLM", "BF16", 64, 4096, memory)


def test_a_folder_may_hold_one_file_and_no_index(tmp_path: Path) -> None:
    """As small models come."""
    (tmp_path / "model.safetensors").write_bytes(safetensors())
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert found(tmp_path).details is not None
    assert len(found(tmp_path).files) == 2


def test_links_are_followed(tmp_path: Path) -> None:
    """As caches are made of them."""
    (tmp_path / "blob").write_bytes(safetensors())
    model = tmp_path / "m"
    model.mkdir()
    (model / "model.safetensors").symlink_to(tmp_path / "blob")
    assert found(model).size == len(safetensors())


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])
def test_each_part_of_a_folder_is_whole(tmp_path: Path, name: str) -> None:
    """Complete or not at all: missing, empty, cut, or a link to nowhere."""
    part = folder(tmp_path / "m") / name
    content = part.read_bytes()
    part.write_bytes(content[:-7])
    assert f"is not whole: {name!r} is damaged" in defect(part.parent)
    assert "7 bytes of its tensors are missing" in defect(part.parent)
    part.write_bytes(b"")
    assert defect(part.parent) == f"is not whole: {name!r} is empty"
    part.unlink()
    assert f"1 of 2 parts are missing, {name!r} first" in defect(part.parent)
    part.symlink_to("/nonexistent")
    assert f"1 of 2 parts are missing, {name!r} first" in defect(part.parent)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "no weight_map"),
        ('{"weight_map": {"a": "../../etc/passwd"}}', "which lies elsewhere"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "which lies elsewhere"),
        ('{"weight_map": {"a": 5}}', "missing"),
    ],
)
def test_a_hostile_index_is_refused(tmp_path: Path, index: str, words: str) -> None:
    """FAULTS: names outside the folder."""
    model = folder(tmp_path / "m")
    (model / "model.safetensors.index.json").write_text(index)
    assert words in defect(model)


def test_an_index_too_deep_to_read_leaves_the_parts_checked(tmp_path: Path) -> None:
    """Nothing is told, but what is there has to be whole."""
    model = folder(tmp_path / "m")
    (model / "model.safetensors.index.json").write_text("[" * 100_000)
    assert found(model).details is None
    (model / "model-00001-of-00002.safetensors").write_bytes(b"")
    assert "is empty" in defect(model)


def test_headers_beyond_what_is_read_leave_the_parts_checked(tmp_path: Path) -> None:
    """Of a part, or the index itself."""
    model = folder(tmp_path / "m")
    one, two = (model / f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    sound = one.read_bytes()
    one.write_bytes((JSON_LIMIT + 1).to_bytes(8, "little"))
    os.truncate(one, 2 * JSON_LIMIT)
    assert found(model).details is None
    one.write_bytes(sound)
    os.truncate(model / "model.safetensors.index.json", JSON_LIMIT + 1)
    assert found(model).details is None
    two.write_bytes(sound[:-1])
    assert repr(two.name) in defect(model)


@pytest.mark.parametrize("config", [None, "{", "[]", "[" * 100_000])
def test_without_a_configuration_the_tensors_tell(tmp_path: Path, config: str | None) -> None:
    """What to make of that is the engine's."""
    model = folder(tmp_path / "m")
    (model / "config.json").unlink()
    if config is not None:
        (model / "config.json").write_text(config)
    assert details(model) == ModelDetails("safetensors", "", "BF16", 64, None, 128 + ENGINE)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    """With the file that may be meant."""
    assert defect(tmp_path).startswith("is a folder, but no whole model")
    (tmp_path / "a.gguf").write_bytes(gguf())
    assert "a.gguf" in defect(tmp_path)


def test_a_folder_of_very_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody named the wrong one."""
    monkeypatch.setattr(model_header, "MOST_FILES", 3)
    assert defect(folder(tmp_path / "m")) == "is a folder of more than 3 files"


# --- a real engine ---------------------------------------------------------------------------------------

MEASURE = """
import os
import sys
import psutil
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.port = 0
parameters.n_parallel = 1
server = xllamacpp.Server(parameters)
with open(sys.argv[2], "w") as file:  # llama.cpp itself writes to all others
    print(psutil.Process().memory_info().rss, file=file)
os._exit(0)  # a server that ends right after it began may wait for ever
"""


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize("n_embd", [64, 1024])
def test_the_estimate_is_of_the_right_size(tmp_path: Path, n_embd: int) -> None:
    """llama.cpp takes no more than estimated, and not less than a tenth: weights, cache and itself."""
    from engine_kit.tiny_model import make_tiny_model  # noqa: PLC0415 - NumPy is slow to import

    model = make_tiny_model(tmp_path / "m.gguf", n_embd=n_embd)
    told = details(model)
    assert told is not None
    assert told.memory is not None
    rss = tmp_path / "rss"
    subprocess.run([sys.executable, "-c", MEASURE, model, rss], capture_output=True, check=True, timeout=100)
    taken = int(rss.read_text())
    assert taken < told.memory < 10 * taken
    assert told.memory > model.stat().st_size


def test_texts_of_any_length_are_passed_over(tmp_path: Path) -> None:
    """A template of a chat is long, and none of what is looked for."""
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf([("tokenizer.chat_template", STRING, "x" * 300_000), *LLAMA]))
    assert details(path) == SMALL
