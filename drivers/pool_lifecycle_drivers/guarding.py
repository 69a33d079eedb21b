"""The guardian: a program that waits for another to be gone, and then ends the engines that it has left.

Started by `Guardian`, never by hand. Its standard input is a pipe of which nobody but the guarded program
holds the other end, and nobody writes to: the kernel closes it at that program's death, however that comes
about. Until then it costs a process that sleeps. No signal that asks programs to end reaches it: what is sent
to the guarded program and everything around it must not keep the guardian from its work.

It begins without anything of ours, as many a program is over before that would be of use. After `SOON` it
imports all it needs: the files may be gone, or be newer ones, by the time it has to work.
"""

from __future__ import annotations

import json
import select
import sys
from types import ModuleType

SOON = 1000
"""Milliseconds for which a guardian imports nothing."""


def main(ledger: int, packages: dict[str, str], path: list[str]) -> None:
    """Wait for the end of standard input, then end whoever is in the ledger."""
    death = select.poll()
    death.register(0, 0)
    death.poll(SOON)
    for name, folder in packages.items():
        # Without what their own __init__ imports, which is the whole library: ten times of what is needed.
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [folder]
    sys.path[:] = path
    from pool_lifecycle_drivers.orphans import end_all  # noqa: PLC0415 - see above

    death.poll()
    end_all(ledger)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]))
