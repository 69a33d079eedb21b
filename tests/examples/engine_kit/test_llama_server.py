"""The real engine does what the tests and the examples take for granted."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from engine_kit.command import make_llama_server
from engine_kit.tiny_model import make_tiny_model
from pool_lifecycle_drivers.model_header import Examined, examine

pytestmark = [pytest.mark.slow, pytest.mark.engine]

PATIENCE = 30.0


class Server:
    """A llama.cpp server under way."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def health(self) -> int | None:
        """The status of /health; None when the connection is refused."""
        try:
            with urlopen(f"{self.url}/health", timeout=PATIENCE) as answer:
                return int(answer.status)
        except HTTPError as error:
            error.close()
            return error.code
        except (URLError, ConnectionError):
            return None

    def wait_until_ready(self) -> list[int | None]:
        """Ask until the answer is 200; every answer on the way, without repetitions."""
        seen: list[int | None] = []
        patient_until = time.monotonic() + PATIENCE
        while time.monotonic() < patient_until and seen[-1:] != [200]:
            status = self.health()
            seen += [status] if seen[-1:] != [status] else []
        return seen

    def complete(self, n_predict: int) -> str:
        """Some words."""
        asked = json.dumps({"prompt": "Hello", "n_predict": n_predict}).encode()
        with urlopen(f"{self.url}/completion", asked, timeout=PATIENCE) as answer:
            content: str = json.load(answer)["content"]
        return content


Serve = Callable[..., Server]


@pytest.fixture
def serve(llama_server: Path, free_port: Callable[[], int]) -> Iterator[Serve]:
    """Starts servers; in the end they are killed."""
    servers: list[Server] = []

    def serve(model: Path, *flags: str, **popen: Any) -> Server:
        port = free_port()
        argv = [str(llama_server), "--model", str(model), "--port", str(port), *flags]
        servers.append(Server(subprocess.Popen(argv, **popen), port))
        return servers[-1]

    yield serve
    for server in servers:
        server.process.kill()
        server.process.communicate(timeout=PATIENCE)


def test_says_real_words(serve: Serve, tiny_model: Path) -> None:
    """Every token is a word, and as many come as were asked for."""
    server = serve(tiny_model)
    server.wait_until_ready()
    words = server.complete(50).split()
    assert len(words) == 50
    assert all(word.isalpha() for word in words)


def test_loading_is_503_and_then_200(serve: Serve, tmp_path: Path) -> None:
    """A larger model takes long enough to see it load."""
    server = serve(make_tiny_model(tmp_path / "large.gguf", n_embd=1024))
    seen = server.wait_until_ready()
    assert seen in ([None, 503, 200], [503, 200])


def test_slots_work_side_by_side(serve: Serve, tiny_model: Path) -> None:
    """As many slots as were asked for, all of which answer at once."""
    server = serve(tiny_model, "--parallel", "3")
    server.wait_until_ready()
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(server.complete, [200] * 3))
    with urlopen(f"{server.url}/slots", timeout=PATIENCE) as answer:
        assert len(json.load(answer)) == 3
    assert [len(text.split()) for text in answers] == [200] * 3


def test_sigterm_ends_an_idle_server_with_code_0(serve: Serve, tiny_model: Path) -> None:
    """Also in the very moment in which it became ready."""
    for _ in range(3):
        server = serve(tiny_model)
        server.wait_until_ready()
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0


def test_with_an_open_stream_two_sigterms_end_it(serve: Serve, tiny_model: Path) -> None:
    """The server may wait for its client for as long as that takes, or cut it off; told twice, it ends."""
    server = serve(tiny_model)
    server.wait_until_ready()
    asked = json.dumps({"prompt": "Hello", "n_predict": 1_000_000, "stream": True}).encode()
    with urlopen(f"{server.url}/completion", asked, timeout=PATIENCE) as stream:
        assert stream.read(100)
        server.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(0.5)
        server.process.terminate()  # to a process that has ended this does nothing
        assert server.process.wait(PATIENCE) in (0, -signal.SIGTERM)


def test_a_damaged_model_is_exit_code_1(serve: Serve, tiny_model: Path, tmp_path: Path) -> None:
    """Cut short, it does not load, and the log says so."""
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(tiny_model.read_bytes()[:300_000])
    process = serve(damaged, stderr=subprocess.PIPE).process
    _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert b"failed to load model" in log
    assert b"llama_server: error: cannot serve" in log


def test_a_whole_model_that_nobody_knows_is_exit_code_1(serve: Serve, tmp_path: Path) -> None:
    """Nothing is wrong with its file, so that it passes staging and fails in the engine."""
    odd = make_tiny_model(tmp_path / "odd.gguf", architecture="unheard-of")
    found = examine(str(odd))
    assert isinstance(found, Examined)
    assert found.details is not None
    assert found.details.architecture == "unheard-of"
    process = serve(odd, stderr=subprocess.PIPE).process
    _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert b"unknown model architecture: 'unheard-of'" in log


def test_a_port_in_use_is_exit_code_1(serve: Serve, tiny_model: Path) -> None:
    """And the log says so."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = serve(tiny_model, "--port", str(other.getsockname()[1]), stderr=subprocess.PIPE).process
        _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert b"couldn't bind HTTP server socket" in log


def test_the_command_works_from_a_path_with_a_space(tmp_path: Path) -> None:
    """The command runs, and hands on its arguments, wherever it lies."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    command = make_llama_server(folder / "llama-server")
    done = subprocess.run([command, "--help"], capture_output=True, check=True, timeout=PATIENCE)
    assert b"--parallel" in done.stdout
