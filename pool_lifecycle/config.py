"""Pools declared in a file: `pools.toml` to specs, or every problem of the file at once.

    [manager]
    state_dir = "state"                       # relative to this file, like every path in it

    [pools.chat]                              # the fields of PoolSpec; `chat` is the pool's id
    model = "file:models/chat.gguf"
    slots = 4
    engine = { binary = "llama-server", profile = "llama.cpp" }
    limits = { start = 300 }                  # the fields of Limits; so with health, backoff, breaker

The keys are the fields of the classes in `spec`, read from the classes themselves: what a class has can be
declared, and nothing else. The checks are those of the classes too. Added here are the checks that need
more than one value, or know what is installed.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import attrs
from attrs import NOTHING, define, field, frozen

from pool_lifecycle.checks import CHECK, a, check_all, checked, optional, text
from pool_lifecycle.errors import ConfigError, Problem
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.restart.blame import Blame
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.spec import EngineSpec, HealthSpec, Models, PoolSpec

T = TypeVar("T", bound=attrs.AttrsInstance)

LARGEST_FILE = 2**20
"""In bytes. A file of a thousand pools is a fifth of it."""

MOST_DOTS = 256
"""On a line. Parsing a key takes the square of its number of parts: a hostile one would take an hour."""

MOST_PROBLEMS = 100
"""After so many the rest of the file is not looked at."""


@frozen
class ManagerSettings:
    """What a file says about the manager. `state_dir` None leaves it to the program that reads the file.

    `restarts` is how many restarts the host can take, `blame` when a device is to blame for crashes, `models`
    where fetched models are kept, `devices` how GPUs are looked after.
    """

    state_dir: str | None = field(default=None, metadata=checked(optional(text("a folder"))))
    restarts: Budget = field(default=Budget(), metadata=checked(a(Budget)))
    blame: Blame = field(default=Blame(), metadata=checked(a(Blame)))
    models: Models = field(default=Models(), metadata=checked(a(Models)))
    devices: DevicePolicy = field(default=DevicePolicy(), metadata=checked(a(DevicePolicy)))

    def __attrs_post_init__(self) -> None:
        check_all(self)


@frozen
class Config:
    """A file that is right: the pools in the order of the file, paths in them absolute."""

    file: Path
    pools: tuple[PoolSpec, ...]
    manager: ManagerSettings = field(factory=ManagerSettings)


class Remark(Problem):
    """A problem without a value: it is missing, or not to be shown since it may hold a secret."""

    def __init__(self, key: str, sentence: str, *, file: str | None = None) -> None:
        super().__init__(key, None, sentence, file=file)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.valid) if part)


def load(path: str | os.PathLike[str], *, drivers: Drivers | None = None) -> Config:
    """The pools that the file at `path` declares. Raises ConfigError with every problem of the file.

    `drivers` knows which drivers can be named (None: the installed ones). Nothing is started, and no file
    that the pools name is looked at.
    """
    file = Path(path)
    return read(_parsed(_read_text(file), file), file=file, drivers=drivers)


def read(document: Mapping[str, Any], *, file: Path, drivers: Drivers | None = None) -> Config:
    """The pools of a parsed `document`, as if it stood in `file`. Raises ConfigError like `load`."""
    reader = _Reader(file, Path(os.path.abspath(file)).parent, drivers or Drivers())
    try:
        reader.known(document, "", ("manager", "pools"))
        manager = reader.value(ManagerSettings, document.get("manager", {}), "manager")
        pools = tuple(reader.pools(document.get("pools", {})))
    except _TooMany:
        reader.problems.append(Remark("", "the rest of the file was not looked at", file=str(file)))
    if reader.problems:
        raise ConfigError(reader.problems)
    assert manager is not None  # else there would have been a problem
    return Config(file, pools, manager)


# --- the file ------------------------------------------------------------------------------------------


def _refused(file: Path, sentence: str) -> ConfigError:
    return ConfigError([Remark("", sentence, file=str(file))])


def _read_text(file: Path) -> str:
    try:
        content = _content(file)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _refused(file, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > LARGEST_FILE:
        raise _refused(file, f"is larger than {LARGEST_FILE} bytes; is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused(file, f"line {line}: is not UTF-8; save it as UTF-8") from error


def _content(file: Path) -> bytes:
    # Without O_NONBLOCK, opening a FIFO would wait for its writer.
    with open(file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        return opened.read(LARGEST_FILE + 1)


def _parsed(content: str, file: Path) -> dict[str, Any]:
    for number, line in enumerate(content.split("\n"), 1):
        if line.count(".") > MOST_DOTS and not line.lstrip().startswith("#"):
            raise _refused(file, f"line {number}: has more than {MOST_DOTS} dots")
    try:
        return tomllib.loads(content)
    except ValueError as error:  # TOMLDecodeError, or a number of more digits than Python is willing to read
        raise _refused(file, f"is not valid TOML: {error}") from error
    except RecursionError:
        raise _refused(file, "is not valid TOML: it is nested too deeply") from None


# --- what is read from more than the classes -----------------------------------------------------------


_DRIVERS: dict[tuple[type, str], Interface] = {
    (PoolSpec, "launcher"): Interface.LAUNCHER,
    (PoolSpec, "stager"): Interface.MODEL_STAGER,
    (PoolSpec, "gpu_probe"): Interface.GPU_PROBE,
    (HealthSpec, "probe"): Interface.HEALTH_PROBE,
    (EngineSpec, "profile"): Interface.ENGINE_PROFILE,
}
"""The fields that name a driver."""


def _path(folder: Path, path: str) -> str:
    return os.path.join(folder, os.path.expanduser(path))


def _program(folder: Path, name: str) -> str:
    """A name without a slash is looked up on PATH, later."""
    return _path(folder, name) if "/" in name else name


def _model(folder: Path, reference: str) -> str:
    path = reference.removeprefix("file:")
    return f"file:{_path(folder, path)}" if path != reference else reference


def _command(folder: Path, words: list[Any]) -> list[Any]:
    return [_program(folder, word) if isinstance(word, str) else word for word in words[:1]] + words[1:]


@frozen
class _PathField:
    """A field that holds a path: its type when it is right, and how it becomes absolute."""

    kind: type[str] | type[list[Any]]
    absolute: Callable[[Path, Any], Any]


_PATHS: dict[tuple[type, str], _PathField] = {
    (ManagerSettings, "state_dir"): _PathField(str, _path),
    (Models, "folder"): _PathField(str, _path),
    (EngineSpec, "cwd"): _PathField(str, _path),
    (EngineSpec, "binary"): _PathField(str, _program),
    (HealthSpec, "command"): _PathField(list, _command),
    (PoolSpec, "model"): _PathField(str, _model),
}
"""The fields that hold paths."""


@define(eq=False)
class _Reader:
    """Reads one document; collects what is wrong with it."""

    file: Path
    folder: Path
    drivers: Drivers
    problems: list[Problem] = field(factory=list)
    installed: dict[Interface, tuple[str, ...]] = field(factory=dict)

    def pools(self, tables: object) -> Iterator[PoolSpec]:
        """The pools that could be made."""
        if not isinstance(tables, Mapping) or not tables:
            self.remark("pools", "must have at least one table, [pools.<id>]")
            return
        ports: dict[int, list[tuple[str, PoolSpec]]] = {}
        for pool_id, table in tables.items():
            key = f"pools.{_quoted(pool_id)}"
            spec = self.value(PoolSpec, table, key, pool_id=pool_id)
            if spec is not None:
                self.port_is_free(key, spec, ports)
                yield spec

    def value(self, kind: type[T], table: object, key: str, **given: object) -> T | None:
        """A `kind` made of a table; None when it could not be made."""
        if not isinstance(table, Mapping):
            self.problem(key, table, "must be a table")
            return None
        found, nested = _fields(kind), _nested(kind)
        self.known(table, key, [name for name in found if name not in given])
        values = dict(given)
        for name in table:
            if name in found and name not in given:
                values[name] = self.field_value(kind, name, table[name], f"{key}.{name}", nested.get(name))
        # What is missing or broken is reported already; None in its place lets the class check the rest.
        reported = {name for name in nested if name in values and values[name] is None}
        for name in [name for name, one in found.items() if one.default is NOTHING and name not in values]:
            self.remark(f"{key}.{name}", f"is missing; it {_wanted(found[name], name in nested)}")
            reported.add(name)
        values.update(dict.fromkeys(reported))
        return self.made(kind, values, key, reported)

    def made(self, kind: type[T], values: dict[str, Any], key: str, reported: Collection[str]) -> T | None:
        """The value itself; what the class finds wrong is reported, but for what was `reported` before."""
        try:
            return kind(**values)
        except ConfigError as error:
            for problem in error.problems:
                if problem.key == "pool_id":
                    self.remark(key, f"a pool's id {problem.valid}")
                elif problem.key not in reported:
                    self.problem(f"{key}.{problem.key}", problem.value, problem.valid)
            return None

    def field_value(self, kind: type, name: str, value: Any, key: str, nested: type | None) -> Any:
        """What the field of `kind` is to be set to."""
        if nested is not None:
            return self.value(nested, value, key)
        if interface := _DRIVERS.get((kind, name)):
            self.driver_is_known(interface, value, key)
        path = _PATHS.get((kind, name))
        if path is not None and isinstance(value, path.kind) and value and "\0" not in value:
            return path.absolute(self.folder, value)
        return value

    # --- checks ------------------------------------------------------------------------------------

    def known(self, table: Mapping[str, Any], key: str, names: Collection[str]) -> None:
        """Report every key of the table that is none of `names`. Its value is not shown."""
        for name in [name for name in table if name not in names]:
            self.remark(".".join(filter(None, (key, _quoted(name)))), _unknown(name, names))

    def driver_is_known(self, interface: Interface, name: object, key: str) -> None:
        """Report a driver that is not installed."""
        if interface not in self.installed:
            self.installed[interface] = self.drivers.names(interface)
        installed = self.installed[interface]
        if isinstance(name, str) and name and name not in installed:
            among = ", ".join(map(repr, installed)) or "none, as none is installed"
            self.problem(key, name, f"must be one of {among}{_guess(name, installed)}")

    def port_is_free(self, key: str, spec: PoolSpec, ports: dict[int, list[tuple[str, PoolSpec]]]) -> None:
        """Report a fixed port that an earlier pool has on the same address."""
        port = spec.engine.port
        if port is None:
            return
        for other, earlier in ports.setdefault(port, []):
            if _meet(spec.engine.host, earlier.engine.host):
                self.problem(f"{key}.engine.port", port, f"must differ from that of {other} on the same host")
        ports[port].append((key, spec))

    # --- reports -----------------------------------------------------------------------------------

    def problem(self, key: str, value: object, valid: str) -> None:
        """Report a wrong value. Of lists and tables only that they are such: they may hold secrets."""
        if isinstance(value, Mapping | list | tuple):
            self.remark(key, valid)
        else:
            self.add(Problem(key, value, valid, file=str(self.file)))

    def remark(self, key: str, sentence: str) -> None:
        """Report something that is not a wrong value."""
        self.add(Remark(key, sentence, file=str(self.file)))

    def add(self, problem: Problem) -> None:
        """Keep a problem; raises _TooMany when there are enough of them."""
        self.problems.append(problem)
        if len(self.problems) >= MOST_PROBLEMS:
            raise _TooMany


class _TooMany(Exception):
    """Nobody corrects more at a time."""


# --- words ---------------------------------------------------------------------------------------------


@cache
def _fields(kind: type[Any]) -> dict[str, attrs.Attribute[Any]]:
    return {one.name: one for one in attrs.fields(kind)}


@cache
def _nested(kind: type) -> dict[str, type]:
    return {name: hint for name, hint in get_type_hints(kind).items() if attrs.has(hint)}


def _wanted(one: attrs.Attribute[Any], table: bool) -> str:
    return "must be a table" if table else str(one.metadata[CHECK](None))


def _unknown(name: str, names: Collection[str]) -> str:
    if name == "pool_id":
        return "unknown key; the pool's id is the name of its table"
    return f"unknown key{_guess(name, names)} (valid: {', '.join(names)})"


def _guess(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name.lower()[:80], names, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _quoted(name: str) -> str:
    """As it has to be written in TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name) else json.dumps(name[:80])


_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound


def _meet(host: str, other: str) -> bool:
    """Whether one port cannot be had on both."""
    one, two = ("127.0.0.1" if name == "localhost" else name.lower() for name in (host, other))
    return one == two or one in _EVERYWHERE or two in _EVERYWHERE
