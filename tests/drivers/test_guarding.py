"""The program of the guardian: what it waits for, and what it imports when."""

from __future__ import annotations

import select
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from pool_lifecycle_drivers import guardian, guarding
from pool_lifecycle_drivers.ledger import Ledger

PACKAGES = ("pool_lifecycle", "pool_lifecycle_drivers")


def test_nobody_is_ended_before_the_guarded_program_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it lives; what is needed then is there long before."""
    done: list[Any] = []

    class Poll:
        def register(self, fd: int, events: int) -> None:
            done.append(("watch", fd, events))

        def poll(self, milliseconds: int | None = None) -> None:
            done.append(("wait", milliseconds, sys.path[:]))

    orphans = ModuleType("pool_lifecycle_drivers.orphans")
    setattr(orphans, "end_all", lambda ledger: done.append(("end", ledger)))  # noqa: B010
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    monkeypatch.setitem(sys.modules, "pool_lifecycle_drivers.orphans", orphans)
    before = sys.path[:]
    monkeypatch.setattr(sys, "path", before)
    monkeypatch.setattr(select, "poll", Poll)
    guarding.main(7, dict.fromkeys(PACKAGES, "/folder"), ["/path"])
    watched, first, second, end = done
    assert watched == ("watch", 0, 0)
    assert first[:2] == ("wait", guarding.SOON)
    assert second == ("wait", None, ["/path"])
    assert end == ("end", 7)


IMPORTS = """
import sys
from pool_lifecycle_drivers.orphans import end_all
print([name for name in sys.modules if name.startswith("pool_lifecycle.")])
"""


@pytest.mark.slow
def test_it_imports_little_of_the_library() -> None:
    """Neither the manager nor a pool: it is a small process, and soon there."""
    packages, path = guardian._where()
    ledger = Ledger()
    script = guarding.__file__
    code = f"import runpy, sys; sys.argv[1:] = [{f'{ledger.fd}'!r}, {packages!r}, {path!r}];"
    code += f"runpy.run_path({script!r}, run_name='__main__')\n{IMPORTS}"
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        input="",
        stdout=subprocess.PIPE,
        pass_fds=(ledger.fd,),
        check=True,
        text=True,
        timeout=60,
    ).stdout
    ledger.close()
    assert "pool_lifecycle.interfaces" in said
    assert not any(f"'pool_lifecycle.{name}'" in said for name in ("manager", "pool", "actor", "step"))
