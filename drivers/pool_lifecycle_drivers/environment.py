"""The environment of an engine: built from nothing by an allow-list, so that nothing spills over."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import attrs
from attrs import frozen

from pool_lifecycle.interfaces import LaunchRequest

TOKEN = "POOL_LIFECYCLE_TOKEN"  # noqa: S105 - the name of a variable
"""The variable that carries the launch token; every descendant inherits it, whatever its session."""

LAUNCH = "POOL_LIFECYCLE_LAUNCH"
"""The variable that carries what else a handle says, as a JSON object: see `Note`."""

ALLOWED = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL"})
"""Taken over from our own environment, with every `LC_` variable.

Nothing else is, in particular neither `CUDA_VISIBLE_DEVICES` nor `LD_LIBRARY_PATH`.
"""


def engine_environment(request: LaunchRequest, own: Mapping[str, str]) -> dict[str, str]:
    """What the engine sees of `own`, then what its command adds, then what finds it again.

    `SPT_NOENV` keeps `setproctitle` (vLLM uses it) from wiping the environment the token stands in.
    """
    passed = ALLOWED.union(request.env_passthrough)
    kept = {name: own[name] for name in own if name in passed or name.startswith("LC_")}
    return {**kept, **dict(request.command.env), "SPT_NOENV": "1", TOKEN: request.token}


@frozen
class Note:
    """What an engine's environment says of its launch beside the token; `at` is when, in ticks after boot.

    A manager that is killed between a launch and its record knows no more of the engine than the token.
    """

    host: str
    port: int
    details: str
    at: int

    def dump(self) -> str:
        """As the value of the variable."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def load(cls, environment: bytes) -> Note | None:
        """From an environment as the kernel shows it; None where it says nothing usable."""
        try:
            said = json.loads(variable(LAUNCH, environment) or "")
            note = cls(said["host"], said["port"], said["details"], said["at"])
        except (ValueError, KeyError, TypeError):
            return None
        kinds = (type(note.host), type(note.port), type(note.details), type(note.at))
        return note if kinds == (str, int, str, int) else None


def variable(name: str, environment: bytes) -> str | None:
    """The value of a variable in an environment as the kernel shows it; None where it is not set."""
    prefix = os.fsencode(f"{name}=")
    variables = environment.split(b"\0")
    return next((os.fsdecode(one[len(prefix) :]) for one in variables if one.startswith(prefix)), None)


def find_program(name: str, environment: Mapping[str, str], cwd: str | None) -> str | None:
    """The file that executing `name` would reach, None when there is none.

    A name with a slash is a path; any other is looked up on the *engine's* PATH. Relative ones start at
    `cwd`, because the engine is already there when it is executed. A file that can be executed wins over
    an earlier one that cannot, as it does for the kernel.
    """
    start = cwd or "."
    if "/" in name:
        path = os.path.join(start, name)
        return path if os.path.exists(path) else None
    places = (os.path.join(start, folder, name) for folder in os.get_exec_path(dict(environment)))
    found = [place for place in places if os.path.isfile(place)]
    return next((place for place in found if os.access(place, os.X_OK)), found[0] if found else None)
