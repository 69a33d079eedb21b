"""Staging a model of a gigabyte: fetched over HTTP, hashed, verified, synced, published. Beside it curl.

Both read from one server on this host and write to the same disk. curl hashes nothing; the peer syncs what it
wrote, as we do, so that it is not the disk's cache that is compared. The folder is that of temporary files.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.rows import Row
from pool_lifecycle.interfaces import StagedModel
from pool_lifecycle_drivers.stage_fsspec import FsspecStager

SIZE, PIECE = 1 << 30, 16 << 20
ROUNDS = 5

SERVER = """
import os, socket, sys, threading
path, size = sys.argv[1], os.path.getsize(sys.argv[1])
head = f'HTTP/1.1 200 OK\\r\\nETag: "1"\\r\\nConnection: close\\r\\nContent-Length: {size}\\r\\n\\r\\n'
def serve(connection):
    with connection, open(path, "rb") as file:
        asked = connection.recv(65536)
        connection.sendall(head.encode())
        if asked.startswith(b"GET"):
            connection.sendfile(file)
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""


def run() -> Iterator[Row]:
    """In seconds a gigabyte, the medians of rounds taken in turns."""
    with tempfile.TemporaryDirectory() as name, _served(Path(name)) as url:
        folder = Path(name)
        taken = _in_turn(
            {
                "ours": lambda: _stage(url, folder / "cache"),
                "curl": lambda: _run("curl", "--silent", "--output", str(folder / "copy"), url),
                "curl, synced": lambda: _synced("curl", "--silent", "--output", str(folder / "copy"), url),
                "cp, synced": lambda: _synced("cp", str(folder / "model"), str(folder / "copy")),
            },
            (folder / "cache", folder / "copy"),
        )
        again = _again(url, folder / "cache")
    what, ours = "stage 1 GiB, sha256, synced", taken["ours"]
    yield Row.against(what, ours, "s", "curl, synced", taken["curl, synced"], most=1 / 0.8)
    for peer in ("curl", "cp, synced"):
        yield Row(what, ours, "s", peer, taken[peer], ours / taken[peer], "shown", met=True)
    yield Row("stage it again", again, "s", "", None, None, "<= 0.25 s", again <= 0.25)


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    with (folder / "model").open("wb") as file:
        piece = bytes(range(256)) * (PIECE // 256)
        for _ in range(SIZE // PIECE):
            file.write(piece)
    argv = [sys.executable, "-c", SERVER, str(folder / "model")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/model"
        finally:
            server.kill()


def _in_turn(contenders: dict[str, Callable[[], object]], left: tuple[Path, ...]) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            for path in left:
                _remove(path)
            _run("sync")
            began = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def _stage(url: str, folder: Path) -> StagedModel:
    stager = FsspecStager()
    stager.keep_in(folder=str(folder), limit=None, in_use=frozenset)
    return asyncio.run(stager.stage(reference=url, digest=None, progress=lambda _: None))


def _again(url: str, folder: Path) -> float:
    _stage(url, folder)
    began = time.perf_counter()
    _stage(url, folder)
    return time.perf_counter() - began


def _synced(*argv: str) -> None:
    _run(*argv)
    _run("sync", argv[argv.index("--output") + 1] if "--output" in argv else argv[-1])


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
