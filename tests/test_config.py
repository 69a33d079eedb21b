"""Pools declared in a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle import config
from pool_lifecycle.config import load, read
from pool_lifecycle.errors import ConfigError
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.spec import EngineSpec, HealthSpec, Limits, Models, PoolSpec, ReloadSpec
from pool_lifecycle.testing.strategies import pool_specs

FILE = Path("/etc/pools/pools.toml")
ENGINE = {"binary": "llama-server"}

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts a text into a file of its own."""

    def write(content: str | bytes) -> Path:
        file = tmp_path / "pools.toml"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write


def problems(of: Callable[[], object]) -> list[str]:
    """Every problem of what `of` reads."""
    with pytest.raises(ConfigError) as caught:
        of()
    return [str(problem) for problem in caught.value.problems]


def wrong(**pool: Any) -> list[str]:
    """Every problem of a file with one pool."""
    return problems(lambda: read({"pools": {"chat": pool}}, file=FILE))


# --- what is right -------------------------------------------------------------------------------------


def test_a_file_becomes_specs_in_its_order(write: Write) -> None:
    """B-CONFIG-x1: tables of the file are pools; what is not said has the default of its class."""
    file = write(
        """
        [manager]
        state_dir = "state"
        [pools.second-to-none]
        slots = 4
        [pools.second-to-none.engine]
        binary = "llama-server"
        env = { A = "1" }
        [pools.chat]
        engine = { binary = "vllm", args = ["--x"], port = 9000 }
        limits.start = 300
        """
    )
    found = load(file)
    assert [one.pool_id for one in found.pools] == ["second-to-none", "chat"]
    first, second = found.pools
    assert (first.slots, first.engine.env) == (4, (("A", "1"),))
    assert (second.engine.args, second.engine.port) == (("--x",), 9000)
    assert second.limits == evolve(first.limits, start=300)
    assert found.manager.state_dir == str(file.parent / "state")


def test_a_file_says_how_models_are_changed_and_kept(write: Write) -> None:
    """B-RELOAD-x2: tables within tables; a folder is beside the file."""
    digest = "sha256:" + "6e" * 32
    file = write(
        f"""
        [manager.models]
        folder = "models"
        limit = 1000
        [pools.chat]
        engine = {{ binary = "x" }}
        model = "hf:org/repo::file=a.gguf"
        digest = "{digest}"
        reload = {{ strategy = "surge", otherwise = "stage_first" }}
        limits.proving = 0
        """
    )
    found = load(file)
    assert found.manager.models == Models(str(file.parent / "models"), 1000)
    (chat,) = found.pools
    assert (chat.digest, chat.reload) == (digest, ReloadSpec("surge", "stage_first"))
    assert chat.limits.proving == 0


def _document(spec: PoolSpec) -> dict[str, Any]:
    """The tables that declare `spec`."""

    def table(value: Any) -> Any:
        if attrs.has(type(value)):
            found = {name: table(part) for name, part in attrs.asdict(value, recurse=False).items()}
            return {name: part for name, part in found.items() if part is not None}
        return list(value) if isinstance(value, tuple) else value

    pool = table(spec)
    pool["engine"]["env"] = dict(spec.engine.env)
    return {"pools": {pool.pop("pool_id"): pool}}


@given(pool_specs())
def test_every_valid_spec_can_be_declared(spec: PoolSpec) -> None:
    """What is declared comes back as it was, but for paths, which become absolute, and stay so."""
    spec = evolve(spec, device_mask=None)
    (once,) = read(_document(spec), file=FILE).pools
    (twice,) = read(_document(once), file=FILE).pools
    assert twice == once
    engine = evolve(once.engine, binary=spec.engine.binary, cwd=spec.engine.cwd)
    health = evolve(once.health, command=spec.health.command)
    assert evolve(once, engine=engine, health=health, model=spec.model) == spec


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the program runs; what is looked up on PATH and what is no file stays as it is."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)

    def made(**fields: Any) -> PoolSpec:
        return read({"pools": {"chat": {"engine": ENGINE, **fields}}}, file=FILE).pools[0]

    assert made(engine={"binary": "bin/x", "cwd": "."}).engine.binary == "/etc/pools/bin/x"
    assert made(engine={"binary": "bin/x", "cwd": "w"}).engine.cwd == "/etc/pools/w"
    assert made(engine={"binary": "~/x"}).engine.binary == "/home/me/x"
    assert made().engine.binary == "llama-server"
    assert made(model="file:m.gguf").model == "file:/etc/pools/m.gguf"
    assert made(model="file:/m.gguf").model == "file:/m.gguf"
    assert made(model="file:///m.gguf").model == "file:///m.gguf"
    assert made(model="hf:org/name").model == "hf:org/name"
    assert made(health={"command": ["./check", "./a"]}).health.command == ("/etc/pools/./check", "./a")
    relative = read({"pools": {"chat": {"engine": {"binary": "./x"}}}}, file=Path("a/pools.toml"))
    assert relative.pools[0].engine.binary == f"{tmp_path}/a/./x"


# --- what is wrong -------------------------------------------------------------------------------------


def test_every_problem_is_told_at_once() -> None:
    """B-CONFIG-x1: with file, key, value and what would be valid, in the order of the file."""
    found = problems(
        lambda: read(
            {
                "colour": 1,
                "manager": {"state_dir": 3},
                "pools": {
                    "chat": {"slots": 0, "engine": {"binary": "x", "port": 99999, "prot": 1}},
                    "embed": {"limits": {"start": 50, "start_hard": 10}},
                    "other": 5,
                },
            },
            file=FILE,
        )
    )
    assert [one.removeprefix(f"{FILE}: ").partition(" = ")[0].partition(":")[0] for one in found] == [
        "colour",
        "manager.state_dir",
        "pools.chat.engine.prot",
        "pools.chat.engine.port",
        "pools.chat.slots",
        "pools.embed.limits.start",
        "pools.embed.engine",
        "pools.other",
    ]
    assert f"{FILE}: pools.chat.engine.port = 99999: must be a whole number from 1 to 65535" in found


@pytest.mark.parametrize("name", ["slotz", "SLOTS", "slot"])
def test_an_unknown_key_is_an_error_with_a_guess(name: str) -> None:
    """B-CONFIG-x1: a mistyped key is never ignored."""
    (only,) = wrong(engine=ENGINE, **{name: 3})
    assert f"pools.chat.{name}: unknown key; did you mean 'slots'?" in only
    assert "device_mask" in only


def test_a_key_that_is_missing_is_named() -> None:
    """With what it must be."""
    (only,) = wrong(engine={})
    assert only == (
        f"{FILE}: pools.chat.engine.binary: is missing; it must be a path or a program's name, "
        "not empty and without NUL bytes"
    )


@pytest.mark.parametrize("engine", [{"cwd": ""}, {"cwd": "a\0b"}, {"binary": ""}, {"binary": "a/\0"}])
def test_a_path_that_is_none_is_refused(engine: dict[str, str]) -> None:
    """It does not become a path by being relative to something."""
    (only,) = wrong(engine={**ENGINE, **engine})
    assert "not empty and without NUL bytes" in only


def test_the_id_is_not_a_key() -> None:
    """It is the name of the table."""
    (only,) = wrong(engine=ENGINE, pool_id="other")
    assert "the pool's id is the name of its table" in only


@pytest.mark.parametrize(
    "pool_id", ["Chat", "chát", "", "../x", "a b", "x" * 64, "-a", "\u0441hat", "a\n", "٣"]
)
def test_an_id_that_is_no_safe_name_is_refused(pool_id: str) -> None:
    """Ids that look alike, differ in case only, or are paths cannot be told apart by people or by files."""
    (only,) = problems(lambda: read({"pools": {pool_id: {"engine": ENGINE}}}, file=FILE))
    assert "a pool's id must be 1 to 63 of a-z 0-9" in only


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -1, 1e300, 10**5000, True, "5", [5], {"a": 5}, -(2**63)],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("key", ["start", "stop_grace"])
def test_a_time_that_is_none_is_refused(key: str, value: object) -> None:
    """Also NaN, negative and huge ones."""
    (only,) = wrong(engine=ENGINE, limits={key: value})
    assert f"pools.chat.limits.{key}" in only
    assert "must be a number of seconds from" in only


def test_contradictory_times_are_refused() -> None:
    """B-CONFIG-x1: and which one contradicts which."""
    (only,) = wrong(engine=ENGINE, breaker={"timeout": 60, "timeout_max": 5})
    assert only == f"{FILE}: pools.chat.breaker.timeout = 60: must not exceed timeout_max (5)"


@pytest.mark.parametrize(
    ("pool", "key"),
    [
        ({"launcher": "locl"}, "launcher"),
        ({"stager": "locl"}, "stager"),
        ({"health": {"probe": "locl"}}, "health.probe"),
        ({"engine": {"binary": "x", "profile": "locl"}}, "engine.profile"),
    ],
)
def test_a_driver_that_is_not_installed_is_refused(pool: dict[str, Any], key: str) -> None:
    """With the names of those that are."""
    (only,) = wrong(**{"engine": ENGINE, **pool})
    assert f"pools.chat.{key} = 'locl': must be one of " in only
    assert "'memory'" in only


def test_drivers_that_were_given_can_be_named() -> None:
    """The file may name whatever the program that reads it brings along."""

    class Ours(Drivers):
        def names(self, interface: Any) -> tuple[str, ...]:
            return ("ours", *super().names(interface))

    document = {"pools": {"chat": {"engine": ENGINE, "launcher": "ours"}}}
    assert read(document, file=FILE, drivers=Ours()).pools[0].launcher == "ours"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"host": "127.0.0.1"}, {"host": "localhost"}),
        ({"host": "::"}, {}),
        ({}, {"host": "0.0.0.0"}),
        ({"host": "FE80::1"}, {"host": "fe80::1"}),
    ],
)
def test_two_pools_cannot_have_one_port(one: dict[str, str], other: dict[str, str]) -> None:
    """On the same host, however that is written."""
    pools = {"a": {"engine": {**ENGINE, "port": 80, **one}}, "b": {"engine": {**ENGINE, "port": 80, **other}}}
    (only,) = problems(lambda: read({"pools": pools}, file=FILE))
    assert "pools.b.engine.port = 80: must differ from that of pools.a" in only


def test_one_port_on_two_addresses_is_fine() -> None:
    """And any port where none is fixed."""
    pools = {
        "a": {"engine": {**ENGINE, "port": 80, "host": "127.0.0.2"}},
        "b": {"engine": {**ENGINE, "port": 80}},
        "c": {"engine": ENGINE},
        "d": {"engine": ENGINE},
    }
    assert len(read({"pools": pools}, file=FILE).pools) == 4


def test_a_malformed_device_mask_is_refused_by_name() -> None:
    """B-CONFIG-012."""
    (only,) = wrong(engine=ENGINE, device_mask="0,GPU0")
    assert "pools.chat.device_mask = '0,GPU0'" in only
    assert "'GPU0' is there twice" in only


@pytest.mark.parametrize(
    "pool",
    [
        {"engine": {**ENGINE, "env": {"TOKEN": "s3cret", "N": 5}}},
        {"engine": {**ENGINE, "env": "TOKEN=s3cret"}},
        {"engine": {**ENGINE, "env": ["TOKEN=s3cret"]}},
        {"engine": {**ENGINE, "enviroment": {"TOKEN": "s3cret"}}},
        {"engine": {**ENGINE, "api_key": "s3cret"}},
        {"engine": [{**ENGINE, "env": {"TOKEN": "s3cret"}}]},
        {"engine": {**ENGINE, "args": ["--api-key", "s3cret", 5]}},
        {"engine": {"binary": 5, "env": {"TOKEN": "s3cret"}}, "health": [{"command": "s3cret"}]},
    ],
)
def test_no_secret_is_echoed(pool: dict[str, Any]) -> None:
    """S18: what may be a secret is not shown in the error, nor kept in it."""
    with pytest.raises(ConfigError) as caught:
        read({"pools": {"chat": pool}}, file=FILE)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr([problem.value for problem in caught.value.problems])


def test_nothing_declared_is_an_error() -> None:
    """An empty file is hardly meant."""
    assert problems(lambda: read({}, file=FILE)) == [
        f"{FILE}: pools: must have at least one table, [pools.<id>]"
    ]


def test_a_flood_of_problems_ends() -> None:
    """S19: nobody reads more than a hundred, and guessing what was meant takes time."""
    found = problems(lambda: read({f"key{number}": 1 for number in range(100_000)}, file=FILE))
    assert len(found) == config.MOST_PROBLEMS + 1
    assert found[-1] == f"{FILE}: the rest of the file was not looked at"


# --- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[pools.chat]\nslots = = 1\n", "line 2"),
        ("[pools.chat]\nslots = 1\nslots = 2\n", "line 3"),
        ("[pools.chat]\n[pools.chat]\n", "line 2"),
        ("x = [1,\n", "end of document"),
        (b"# fine\nx = '\xff'\n", "line 2: is not UTF-8"),
        ("x = " + "9" * 5000, "digits"),
        ("x = " + "[" * 50_000, "nested too deeply"),
        ("x = " + "{a=" * 50_000, "nested too deeply"),
        ("ok = 1\n" + ".".join("a" * 100_000) + " = 1", "line 2: has more than 256 dots"),
        (b"x = '\x00'", "line 1"),
        ("# " + "x" * config.LARGEST_FILE, "is larger than 1048576 bytes"),
        (b"\xfe\xff\x00x", "is not UTF-8"),
    ],
    ids=range(12),
)
def test_a_file_that_is_no_toml_is_refused(write: Write, content: str | bytes, says: str) -> None:
    """With the file and, where it can be told, the line; in no time, whatever is in it."""
    file = write(content)
    (only,) = problems(lambda: load(file))
    assert only.startswith(f"{file}: ")
    assert says in only


def test_a_byte_order_mark_and_long_comments_are_fine(write: Write) -> None:
    """Editors write the one, people the other."""
    text = "# " + "." * 1000 + "\r\n[pools.a]\r\nengine = { binary = 'x' }\r\n"
    assert len(load(write(b"\xef\xbb\xbf" + text.encode())).pools) == 1


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A file that is missing, a folder, a FIFO nobody writes to, a device, a name with a NUL."""
    os.mkfifo(tmp_path / "fifo")
    for name, says in [
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "fifo", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (Path("a\0b"), "null byte"),
    ]:
        (only,) = problems(lambda name=name: load(name))  # type: ignore[misc]
        assert only.startswith(f"{name}: cannot be read: ")
        assert says in only


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(write: Write) -> None:
    """As what it is."""
    file = write("")
    file.chmod(0)
    (only,) = problems(lambda: load(file))
    assert "Permission denied" in only


# --- any input -----------------------------------------------------------------------------------------

_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.datetimes()
    | st.binary()
)
_CLASSES = (PoolSpec, EngineSpec, HealthSpec, Limits, config.ManagerSettings)
_names = st.sampled_from([one.name for kind in _CLASSES for one in attrs.fields(kind)]) | st.text(max_size=8)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=20,
)
_documents = st.fixed_dictionaries(
    {
        "pools": _values
        | st.dictionaries(_names | st.sampled_from(["a", "b"]), st.dictionaries(_names, _values))
    },
    optional={"manager": _values, "x": _values},
)


@given(_documents)
def test_any_document_gives_pools_or_every_problem(document: dict[str, Any]) -> None:
    """Never another error, whatever is in it; and each problem can be shown."""
    try:
        found = len(read(document, file=FILE).pools)
        wanted = len(document["pools"])
    except ConfigError as error:
        shown = [str(problem).startswith(f"{FILE}: ") for problem in error.problems]
        wanted, found = len(shown), sum(shown)
    assert found == wanted
    assert found


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_decided(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """A file of noise is an error that names it."""
    file = tmp_path_factory.getbasetemp() / "noise.toml"
    file.write_bytes(content)
    assert all(one.startswith(f"{file}: ") for one in problems(lambda: load(file)))
