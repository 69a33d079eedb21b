"""An engine that holds memory of a real GPU: CUDA's driver library, the standard library, and nothing else.

    python cuda_engine.py --port 8080 --memory BYTES

It takes the memory on the first GPU that it may see, and then answers every request with the uuids of all
that it may see. Where the GPU has not that much, it says so as CUDA's users do, and exits with code 1.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import signal
import sys
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

OUT_OF_MEMORY = 2


class Cuda:
    """The few calls."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)

    def call(self, function: str, *arguments: Any) -> None:
        """One of them. Ends the program where it fails."""
        code = getattr(self._library, function)(*arguments)
        if code == OUT_OF_MEMORY:
            sys.exit("CUDA error: out of memory")
        if code:
            sys.exit(f"CUDA error: {function} returned {code}")

    def seen(self) -> list[str]:
        """The uuids of all GPUs there are for us."""
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        return [self._uuid(number) for number in range(count.value)]

    def _uuid(self, number: int) -> str:
        device, name = ctypes.c_int(), (ctypes.c_ubyte * 16)()
        self.call("cuDeviceGet", ctypes.byref(device), number)
        self.call("cuDeviceGetUuid", name, device)
        return f"GPU-{uuid.UUID(bytes=bytes(name))}"

    def take(self, memory: int) -> None:
        """Take so many bytes of the first GPU, until we end."""
        device, context, address = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(memory))


class Handler(BaseHTTPRequestHandler):
    """Answers everything."""

    seen: bytes = b"[]"

    def do_GET(self) -> None:
        """Say what it may see."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.seen)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Not in its log."""


def main() -> None:
    """Load, and serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="An engine that holds memory of a real GPU.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--memory", type=int, required=True)
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # it waits for `sigwait`, whenever it comes
    cuda = Cuda()
    Handler.seen = json.dumps(cuda.seen()).encode()
    cuda.take(options.memory)
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening on port {options.port}", flush=True)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
