"""What a running `pool-lifecycle run` writes down of what it has declared, for `pool-lifecycle apply`.

One file in the state directory, readable by nobody else, replaced as a whole. Of secrets it has hashes with a
key of this run: enough to see that one has changed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from pool_lifecycle.plan import Described, Shown

NAME = "declared.json"
LARGEST = 2**26
"""In bytes; of a thousand pools it is a tenth of that."""


@frozen
class Outcome:
    """What became of one pool when a file was applied: `Applied` in words."""

    pool_id: str
    way: str
    end: str
    error: str = ""
    state: str | None = None


@frozen
class Application:
    """One time that the file was read again: `problems` of the file, or the outcomes once all are known."""

    number: int
    by: str
    problems: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return bool(self.problems) or self.outcomes is not None


@frozen
class Declared:
    """Everything that is written down. `manager` has the settings of the manager, `pools` what they are."""

    pid: int
    file: str
    key: bytes
    manager: Mapping[str, Shown]
    pools: tuple[Described, ...]
    applications: tuple[Application, ...] = ()

    def write(self, root: Path) -> None:
        """Put it in the place of what was there. Raises OSError."""
        new = root / f"{NAME}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(new, flags, 0o600), "w", encoding="utf-8", errors="surrogatepass") as opened:
            json.dump(self._plain(), opened)
        new.replace(root / NAME)

    def _plain(self) -> dict[str, Any]:
        return {
            "pid": self.pid,
            "file": self.file,
            "key": self.key.hex(),
            "manager": _row(self.manager),
            "pools": {one.pool_id: _row(one.values) for one in self.pools},
            "applications": [asdict(one) for one in self.applications],
        }

    @classmethod
    def read(cls, root: Path) -> Declared:
        """What was written last. Raises OSError, and ValueError when it is no such file."""
        with open(root / NAME, "rb") as opened:
            found = json.loads(opened.read(LARGEST))
        try:
            return cls(
                int(found["pid"]),
                str(found["file"]),
                bytes.fromhex(found["key"]),
                _values(found["manager"]),
                tuple(Described(name, _values(row)) for name, row in found["pools"].items()),
                tuple(map(_application, found["applications"])),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no such document: {error!r}") from error

    @staticmethod
    def forget(root: Path) -> None:
        """The run is over."""
        with contextlib.suppress(OSError):
            (root / NAME).unlink()


def _row(values: Mapping[str, Shown]) -> dict[str, list[str]]:
    return {name: [one.text, one.mark] if one.mark else [one.text] for name, one in values.items()}


def _values(row: Mapping[str, list[str]]) -> dict[str, Shown]:
    return {name: Shown(*one) for name, one in row.items()}


def _application(found: Mapping[str, Any]) -> Application:
    outcomes = found["outcomes"]
    known = None if outcomes is None else tuple(Outcome(**one) for one in outcomes)
    return Application(found["number"], found["by"], tuple(found["problems"]), known)
