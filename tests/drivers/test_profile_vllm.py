"""The profile of vLLM's server."""

from __future__ import annotations

import pytest

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Command, CommandContext, ExitZero
from pool_lifecycle.testing.check_engine_profile import check_engine_profile
from pool_lifecycle_drivers.profile_vllm import VllmProfile
from pool_lifecycle_drivers.prometheus_text import total

FULL = """\
Free memory on device (3.2/4.0 GiB) on startup is less than desired GPU memory utilization (0.9, 3.6 GiB)
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


def test_the_command_line() -> None:
    """Model, address and slots in the server's own flags; the declared arguments come last and so win."""
    context = CommandContext("vllm", ("--dtype", "auto"), "127.0.0.1", 8000, slots=16, model_path="/m/llama")
    assert VllmProfile().command(context=context) == Command(
        (
            "vllm",
            "serve",
            "/m/llama",
            "--host",
            "127.0.0.1",
            "--port",
            "8000",
            "--max-num-seqs",
            "16",
            "--dtype",
            "auto",
        )
    )


def test_without_a_model_the_arguments_name_one() -> None:
    """A name on a hub is not a staged model; it stands in the arguments."""
    context = CommandContext("vllm", ("--model", "a/b"), "h", 1, slots=1)
    assert VllmProfile().command(context=context).argv[:3] == ("vllm", "serve", "--host")


@pytest.mark.parametrize(
    ("log", "kind", "heals"),
    [
        ("vllm: error: unrecognized arguments: --no-such", FailureClass.BAD_CONFIG, False),
        ("api_server.py: error: argument --port: invalid int value: 'x'", FailureClass.BAD_CONFIG, False),
        (
            "OSError: a/b is not a local folder and is not a valid model identifier",
            FailureClass.BAD_CONFIG,
            False,
        ),
        ("OSError: [Errno 98] Address already in use", FailureClass.PORT_IN_USE, True),
        ("torch.OutOfMemoryError: CUDA out of memory.", FailureClass.DEVICE_OUT_OF_MEMORY, True),
        ("ValueError: No available memory for the cache blocks.", FailureClass.DEVICE_OUT_OF_MEMORY, True),
        ("torch.AcceleratorError: CUDA error: device-side assert triggered", FailureClass.CUDA, True),
        (
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.",
            FailureClass.EXIT,
            True,
        ),
        (FULL, FailureClass.DEVICE_OUT_OF_MEMORY, True),
    ],
)
def test_the_first_pattern_in_a_log_tells_the_reason(log: str, kind: FailureClass, heals: bool) -> None:
    """A root cause comes before the dead engine core it leads to."""
    found = next(pattern for pattern in VllmProfile().patterns if pattern.text in log)
    assert (found.kind, found.heals) == (kind, heals)


@pytest.mark.parametrize(
    ("ratios", "flags"),
    [
        ((), ()),
        ((1.0,), ()),
        ((0.5, 0.5), ("--tensor-parallel-size", "2")),
        ((0.33, 0.33, 0.34), ("--tensor-parallel-size", "3")),
    ],
)
def test_split_flags(ratios: tuple[float, ...], flags: tuple[str, ...]) -> None:
    """B-HETERO: the number of devices; none for a single one. Thirds in two decimals count as even."""
    assert VllmProfile().split_flags(ratios=ratios) == flags


def test_an_uneven_split_is_refused() -> None:
    """vLLM gives every device the same; a plan that relies on less for one would not hold."""
    with pytest.raises(DriverError, match="unevenly") as caught:
        VllmProfile().split_flags(ratios=(0.75, 0.25))
    assert not caught.value.cause.heals


def test_its_work_is_counted_in_tokens() -> None:
    """Those of all its engines' prompts and answers; requests that run or wait are work to be done."""
    answer = b"""\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 10.0
vllm:prompt_tokens_created{engine="0",model_name="m"} 1.7e+09
vllm:generation_tokens_total{engine="0",model_name="m"} 5.0
vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 77.0
"""
    work = VllmProfile().work
    assert work.path == "/metrics"
    assert (total(answer, work.names), total(answer, work.pending)) == (15.0, 4.0)


def test_exit_code_0_is_a_crash() -> None:
    """When the engine core dies, the server in front of it exits 0."""
    assert VllmProfile().exit_zero is ExitZero.CRASH


def test_it_keeps_the_promises_of_an_engine_profile() -> None:
    """The public conformance check."""
    check_engine_profile(VllmProfile)
