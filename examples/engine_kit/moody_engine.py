#!/usr/bin/env python3
"""A pretended engine for examples about failures: how each launch ends is written down beforehand, in a file.

    python examples/engine_kit/moody_engine.py --port 8080 --fate FILE

Each launch takes the first line of the file away and does what it says: `breaks` ends it before it is
ready; `stumbles` ends it with an error at the first prompt; `crashes` ends it there by a real SIGSEGV, just
after it has logged the prompt. Without a line left, or without a file, it answers until SIGTERM. A prompt is
the path of a GET, or comes as to llama.cpp, by a POST to `/completion`. It needs the standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

Fail = Callable[[str], None]

WORDS = "Words, many of them"


def stumble(_prompt: str) -> None:
    """End with an error, as a program does that notices what is wrong."""
    print("error: more tokens than the context has room for", flush=True)
    os._exit(1)


def crash(prompt: str) -> None:
    """End as a program does that does not notice, but leave no core file about."""
    print(f'prompt: "{prompt}"', flush=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.raise_signal(signal.SIGSEGV)


FATES: dict[str, Fail] = {"stumbles": stumble, "crashes": crash}


def handler(fail: Fail | None) -> type[BaseHTTPRequestHandler]:
    """Answers `/health`, and prompts in any other way unless it is to `fail` there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/health":
                self.take(unquote(self.path.lstrip("/")))
            self.answer(WORDS)

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            self.take(json.loads(asked)["prompt"])
            self.answer(json.dumps({"content": WORDS}))

        def take(self, prompt: str) -> None:
            if fail is not None:
                fail(prompt)

        def answer(self, text: str) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Not in its log."""

    return Handler


def main() -> None:
    """Serve, and come to the end that was written."""
    parser = argparse.ArgumentParser(description="A pretended engine.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fate", type=Path, help="has a line for each launch")
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # it waits for `sigwait`, whenever it comes
    fate = "" if options.fate is None else take_line(options.fate)
    if fate == "breaks":
        sys.exit("error: the weights do not fit together")
    server = ThreadingHTTPServer(("127.0.0.1", options.port), handler(FATES.get(fate)))
    Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening on port {options.port}", flush=True)
    signal.sigwait({signal.SIGTERM})


def take_line(path: Path) -> str:
    """The first line, which is not there any more afterwards; empty if there was none."""
    fate, _, rest = path.read_text().partition("\n")
    path.write_text(rest)
    return fate


if __name__ == "__main__":
    main()
