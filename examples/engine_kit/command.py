"""Make a `llama-server` command out of `llama_server.py`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

SERVER = Path(__file__).resolve().parent / "llama_server.py"


def make_llama_server(path: str | Path) -> Path:
    """Write an executable that runs llama.cpp's server with this very Python; return its path.

    With it a pool declares its engine just as with the real `llama-server`: as one binary. The file is a
    two-line shell script because a `#!` line can hold neither spaces nor a second argument safely; `exec`
    makes the engine itself the process that was launched.
    """
    command = Path(path)
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(SERVER))} "$@"\n')
    command.chmod(0o755)
    return command
