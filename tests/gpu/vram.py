"""A program that uses a real GPU through CUDA's driver, with neither a compiler nor a framework.

    python vram.py [--memory BYTES] [--port PORT]

It prints a line of JSON, {"pid": ..., "sees": [uuid, ...]}, with the devices that it may see, takes memory
of the first of them, prints "holding", and waits: on a port, where it says that it is well, or for the end of
its input. It needs the standard library and `libcuda.so.1`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

OUT_OF_MEMORY, NO_DEVICE = 2, 100
"""CUDA's codes."""


class CudaError(Exception):
    """What CUDA's driver answered, in the words in which its frameworks tell it."""

    def __init__(self, code: int, what: str) -> None:
        self.code = code
        super().__init__(
            "CUDA error: out of memory" if code == OUT_OF_MEMORY else f"CUDA error {code}: {what}"
        )


class Cuda:
    """The few calls that are needed. Raises OSError where there is no driver, CudaError where one fails."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self._ask("cuInit", 0)

    def devices(self) -> list[str]:
        """The uuids of the devices that this process may see, in its order."""
        count = ctypes.c_int()
        self._ask("cuDeviceGetCount", ctypes.byref(count))
        return [self._uuid(number) for number in range(count.value)]

    def take(self, size: int) -> None:
        """So many bytes of the first device, until this process ends."""
        device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
        self._ask("cuDeviceGet", ctypes.byref(device), 0)
        self._ask("cuCtxCreate_v2", ctypes.byref(context), 0, device)
        self._ask("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(size))

    def _uuid(self, number: int) -> str:
        device, found = ctypes.c_int(), (ctypes.c_ubyte * 16)()
        self._ask("cuDeviceGet", ctypes.byref(device), number)
        self._ask("cuDeviceGetUuid", ctypes.byref(found), device)
        return f"GPU-{uuid.UUID(bytes=bytes(found))}"

    def _ask(self, name: str, *arguments: object) -> None:
        if code := getattr(self._library, name)(*arguments):
            raise CudaError(code, name)


class Well(BaseHTTPRequestHandler):
    """Answers everything."""

    def do_GET(self) -> None:
        """Say that it is well."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Not in its log."""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Use a GPU.")
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    try:
        cuda = Cuda()
        print(json.dumps({"pid": os.getpid(), "sees": cuda.devices()}), flush=True)
        if options.memory:
            cuda.take(options.memory)
    except CudaError as error:
        if error.code != NO_DEVICE:
            sys.exit(str(error))
        print(json.dumps({"pid": os.getpid(), "sees": []}), flush=True)
    print("holding", flush=True)
    if options.port is not None:
        HTTPServer(("127.0.0.1", options.port), Well).serve_forever()
    sys.stdin.read()


if __name__ == "__main__":
    main()
