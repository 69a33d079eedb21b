"""The command line. `pool-lifecycle --help` tells what it can do. Needs the extra `cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point `pool-lifecycle`."""
    try:
        from pool_lifecycle.cli.commands import cli  # noqa: PLC0415 - click and rich may be absent
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        sys.exit(_explain(f"the command line needs {error.name}: pip install 'pool-lifecycle[cli]'"))
    cli()


def _explain(what: str) -> int:
    sys.stderr.write(f"pool-lifecycle: {what}\n")
    return 2
