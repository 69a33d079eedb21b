"""Engines for tests: a real one, llama.cpp's server with a tiny model, and a fake one that takes orders."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen


@frozen
class FakeEngine:
    """How to launch `tests/engines/fake_engine.py`; its docstring and `--help` tell what it can do.

    Its Python runs isolated and without site-packages (`-I -S`): it starts twice as fast.
    """

    path: str = str(Path(__file__).parent / "engines" / "fake_engine.py")
    binary: str = sys.executable

    def args(self, *flags: str) -> tuple[str, ...]:
        """Arguments for an engine of the generic profile, which fills in host and port."""
        return ("-I", "-S", self.path, "--host", "{host}", "--port", "{port}", *flags)

    def argv(self, port: int, *flags: str) -> tuple[str, ...]:
        """A whole command line, for `subprocess` or a launch request."""
        return (self.binary, "-I", "-S", self.path, "--port", str(port), *flags)


@pytest.fixture(scope="session")
def fake_engine() -> FakeEngine:
    """The scriptable engine."""
    return FakeEngine()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GGUF model of half a megabyte, made once."""
    from engine_kit.tiny_model import make_tiny_model  # noqa: PLC0415 - NumPy is slow to import

    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="session")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An executable that takes `llama-server`'s flags and is llama.cpp's server."""
    from engine_kit.command import make_llama_server  # noqa: PLC0415 - as above

    return make_llama_server(tmp_path_factory.mktemp("bin") / "llama-server")


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a port on 127.0.0.1 that nobody holds at this moment."""
    return _free_port


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port
