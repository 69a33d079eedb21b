"""The profile of llama.cpp's server. The log lines are what version b10434 really printed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.interfaces import Command, CommandContext, ExitZero, ProbeTarget
from pool_lifecycle.testing.check_engine_profile import check_engine_profile
from pool_lifecycle_drivers.health_http import HttpProbe
from pool_lifecycle_drivers.profile_llamacpp import LlamaCppProfile
from pool_lifecycle_drivers.prometheus_text import total

BAD_MAGIC = """\
gguf_init_from_reader: invalid magic characters: 'garb', expected 'GGUF'
llama_model_load: error loading model: llama_model_loader: failed to load model from bad.gguf
srv    load_model: failed to load model, 'bad.gguf'
"""
TRUNCATED = """\
llama_model_load: error loading model: tensor 'blk.1.ffn_up.weight' data is not within the file bounds
srv    load_model: failed to load model, 't.gguf'
"""
NO_MEMORY = """\
allocating 590.07 MiB on device 0: cudaMalloc failed: out of memory
llama_model_load: error loading model: unable to allocate CUDA0 buffer
srv    load_model: failed to load model, 'm.gguf'
"""


def test_the_command_line() -> None:
    """Address, slots and model in the server's own flags; the declared arguments come last and so win."""
    context = CommandContext(
        "llama-server", ("--ctx-size", "512"), "::1", 8080, slots=4, model_path="/m/a b.gguf"
    )
    assert LlamaCppProfile().command(context=context) == Command(
        (
            "llama-server",
            "--host",
            "::1",
            "--port",
            "8080",
            "--parallel",
            "4",
            "--model",
            "/m/a b.gguf",
            "--ctx-size",
            "512",
        ),
        (("LLAMA_ARG_ENDPOINT_METRICS", "1"),),
    )


def test_its_work_is_counted_in_batches() -> None:
    """What grows while it works, and what says that it has none to do; both are in what it really answers."""
    answer = b"""\
# TYPE llamacpp:n_decode_total counter
llamacpp:n_decode_total 720
# TYPE llamacpp:n_busy_slots_per_decode gauge
llamacpp:n_busy_slots_per_decode 1
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 1
"""
    work = LlamaCppProfile().work
    assert work.path == "/metrics"
    assert (total(answer, work.names), total(answer, work.pending)) == (720, 1)


def test_without_a_model_there_is_no_model_flag() -> None:
    """The arguments may name a model in another way."""
    context = CommandContext("llama-server", ("--hf-repo", "a/b"), "127.0.0.1", 1, slots=1)
    assert "--model" not in LlamaCppProfile().command(context=context).argv


@pytest.mark.parametrize(
    ("log", "kind", "heals"),
    [
        ("error: invalid argument: --no-such-flag", FailureClass.BAD_CONFIG, False),
        ('error while handling argument "--port": stoi', FailureClass.BAD_CONFIG, False),
        (
            "couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18998",
            FailureClass.PORT_IN_USE,
            True,
        ),
        (
            "gguf_init_from_file: failed to open GGUF file '/n.gguf' (No such file)",
            FailureClass.BAD_CONFIG,
            False,
        ),
        ("gguf_init_from_reader: failed to read magic", FailureClass.BAD_CONFIG, False),
        ("gguf_init_from_reader: failed to read key-value pairs", FailureClass.BAD_CONFIG, False),
        ("error loading model: unknown model architecture: 'new'", FailureClass.BAD_CONFIG, False),
        ("srv    load_model: failed to load model, 'm.gguf'", FailureClass.EXIT, True),
        (BAD_MAGIC, FailureClass.BAD_CONFIG, False),
        (TRUNCATED, FailureClass.BAD_CONFIG, False),
        (NO_MEMORY, FailureClass.DEVICE_OUT_OF_MEMORY, True),
        ("CUDA error: an illegal memory access was encountered", FailureClass.CUDA, True),
    ],
)
def test_the_first_pattern_in_a_log_tells_the_reason(log: str, kind: FailureClass, heals: bool) -> None:
    """Want of memory comes before the failed load it leads to, a damaged model before the general words."""
    found = next(pattern for pattern in LlamaCppProfile().patterns if pattern.text in log)
    assert (found.kind, found.heals) == (kind, heals)


@pytest.mark.parametrize(
    ("ratios", "flags"),
    [((), ()), ((1.0,), ()), ((0.75, 0.25), ("--tensor-split", "0.75,0.25")), ((1 / 3,) * 3, None)],
)
def test_split_flags(ratios: tuple[float, ...], flags: tuple[str, ...] | None) -> None:
    """B-HETERO: one share per device, in the server's own notation; none for a single device."""
    expected = ("--tensor-split", "0.333333,0.333333,0.333333") if flags is None else flags
    assert LlamaCppProfile().split_flags(ratios=ratios) == expected


def test_exit_code_0_is_a_crash() -> None:
    """A server has no reason to end by itself."""
    assert LlamaCppProfile().exit_zero is ExitZero.CRASH


def test_it_keeps_the_promises_of_an_engine_profile() -> None:
    """The public conformance check."""
    check_engine_profile(LlamaCppProfile)


# --- the real server -------------------------------------------------------------------------------------


PATIENCE = 60.0


async def _read(port: int, names: tuple[str, ...]) -> float | None:
    target = ProbeTarget("127.0.0.1", port, LlamaCppProfile().work.path)
    return await HttpProbe().count(target=target, names=names, timeout=PATIENCE)


async def _until_it_works(port: int) -> list[float | None]:
    """Two different counts, between which it said that it had work to do."""
    work = LlamaCppProfile().work
    while (began := await _read(port, work.names)) is None or not await _read(port, work.pending):  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.05)
    while (now := await _read(port, work.names)) == began:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.05)
    return [began, now]


@pytest.mark.slow
@pytest.mark.engine
def test_the_counter_of_a_real_server_grows_while_it_works(
    llama_server: Path, tiny_model: Path, free_port: Callable[[], int]
) -> None:
    """FAULTS, slow because busy: in the middle of an answer that nobody has seen a word of yet."""
    port = free_port()
    context = CommandContext(str(llama_server), ("-c", "100000"), "127.0.0.1", port, 1, str(tiny_model))
    command = LlamaCppProfile().command(context=context)
    engine = subprocess.Popen(
        command.argv, env={**os.environ, **dict(command.env)}, stderr=subprocess.DEVNULL
    )
    body = json.dumps({"prompt": "Hello", "n_predict": 10**6, "ignore_eos": True}).encode()
    head = f"POST /completion HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def program() -> list[float | None]:
        async with asyncio.timeout(PATIENCE):
            while await _read(port, LlamaCppProfile().work.names) is None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
            assert await _read(port, LlamaCppProfile().work.pending) == 0
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + body)
            counts = await _until_it_works(port)
            writer.transport.abort()
            return counts

    try:
        began, now = asyncio.run(program())
    finally:
        engine.kill()
        engine.wait(PATIENCE)
    assert began is not None
    assert now is not None
    assert now > began
