#!/usr/bin/env python3
"""A pretended engine that takes memory of an imagined GPU before it serves.

    python examples/engine_kit/gpu_engine.py --port 8080 --memory BYTES --claims FOLDER

It claims the memory by a file named after its pid, with the devices that it may see and the bytes, and waits
until a file of that name with the ending `.granted` is there. It needs the standard library only.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


class Handler(BaseHTTPRequestHandler):
    """Answers everything."""

    def do_GET(self) -> None:
        """Say that it is well, and what it sees."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Not in its log."""


def main() -> None:
    """Load, and serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="A pretended engine.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--claims", type=Path, required=True)
    options = parser.parse_args()
    claim = options.claims / str(os.getpid())
    claim.with_suffix(".new").write_text(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {options.memory}")
    claim.with_suffix(".new").rename(claim)
    while not claim.with_suffix(".granted").exists():
        time.sleep(0.02)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # it waits for `sigwait`, whenever it comes
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening on port {options.port}", flush=True)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
