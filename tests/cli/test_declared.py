"""What `run` writes down for `apply`."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from pool_lifecycle.cli.declared import NAME, Application, Declared, Outcome
from pool_lifecycle.plan import described, plan_between
from pool_lifecycle.spec import EngineSpec, PoolSpec

KEY = b"k" * 32
CHAT = PoolSpec("chat", EngineSpec("x", env={"TOKEN": "correct-horse"}), model="file:/ü.gguf")
DECLARED = Declared(
    7,
    "/a/pools.toml",
    KEY,
    {},
    (described(CHAT, KEY),),
    (
        Application(1, "SIGHUP", ("pools: must have one",)),
        Application(2, "SIGHUP", (), (Outcome("chat", "reload", "failed", "no", "ready"),)),
        Application(3, "SIGHUP"),
    ),
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Also by another process; a secret that has not changed is seen not to have."""
    DECLARED.write(tmp_path)
    found = Declared.read(tmp_path)
    assert found == DECLARED
    assert plan_between(found.pools, [described(CHAT, found.key)]).pending == ()
    assert [one.over for one in found.applications] == [True, True, False]


def test_it_is_nobody_elses_and_has_no_secret(tmp_path: Path) -> None:
    """S18; whatever lay there before, and whatever the umask."""
    (tmp_path / NAME).write_text("an old one that anybody may read")
    (tmp_path / NAME).chmod(0o666)
    DECLARED.write(tmp_path)
    DECLARED.write(tmp_path)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert "correct-horse" not in (tmp_path / NAME).read_text()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": "x"}', json.dumps({"pid": 1, "file": 2})])
def test_what_is_damaged_is_refused(tmp_path: Path, content: str) -> None:
    """With one kind of error, whatever is wrong with it."""
    (tmp_path / NAME).write_text(content)
    with pytest.raises(ValueError):  # noqa: PT011 - the kind is the promise
        Declared.read(tmp_path)


def test_it_goes_with_the_run(tmp_path: Path) -> None:
    """Once or twice."""
    DECLARED.write(tmp_path)
    Declared.forget(tmp_path)
    Declared.forget(tmp_path)
    assert list(tmp_path.iterdir()) == []
