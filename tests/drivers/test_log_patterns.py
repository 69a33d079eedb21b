"""What logs say about devices and ports, in lines as they were really printed."""

from __future__ import annotations

import pytest

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.interfaces import EngineProfile, Pattern
from pool_lifecycle_drivers.log_patterns import ARGPARSE_PATTERNS, DEVICE_PATTERNS, PORT_PATTERNS
from pool_lifecycle_drivers.profile_generic import GenericProfile
from pool_lifecycle_drivers.profile_llamacpp import LlamaCppProfile
from pool_lifecycle_drivers.profile_vllm import VllmProfile


def first_match(patterns: tuple[Pattern, ...], log: str) -> Pattern | None:
    return next((pattern for pattern in patterns if pattern.text in log), None)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("CUDA error: an illegal memory access was encountered", FailureClass.CUDA),
        ("CUDA error: out of memory", FailureClass.DEVICE_OUT_OF_MEMORY),
        (
            "allocating 279356.51 MiB on device 0: cudaMalloc failed: out of memory",
            FailureClass.DEVICE_OUT_OF_MEMORY,
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", FailureClass.DEVICE_OUT_OF_MEMORY),
        ("vk::Device::allocateMemory: ErrorOutOfDeviceMemory", FailureClass.DEVICE_OUT_OF_MEMORY),
        ("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.", FailureClass.DEVICE_LOST),
        ("Unable to determine the device handle: GPU is lost.", FailureClass.DEVICE_LOST),
        (
            "[Errno 98] error while attempting to bind on address: address already in use",
            FailureClass.PORT_IN_USE,
        ),
        ("OSError: [Errno 98] Address already in use", FailureClass.PORT_IN_USE),
    ],
)
def test_a_line_tells_the_class(line: str, kind: FailureClass) -> None:
    """B-SUPER-003: a CUDA error is a CUDA failure, unless it says something more telling."""
    found = first_match(DEVICE_PATTERNS + PORT_PATTERNS, line)
    assert found is not None
    assert found.kind is kind
    assert found.heals


@pytest.mark.parametrize(
    "line", ["out of memory", "cuda is available", "loading model", "all slots are idle"]
)
def test_an_ordinary_line_tells_nothing(line: str) -> None:
    """Vague words are no evidence: the host's memory, for one, is not the device's."""
    assert first_match(DEVICE_PATTERNS + PORT_PATTERNS, line) is None
    assert first_match(ARGPARSE_PATTERNS, line) is None


@pytest.mark.parametrize(
    "line",
    [
        "llama_server: error: unrecognized arguments: --no-such-flag",
        "llama_server: error: argument -c/--ctx-size: invalid int value: 'x'",
        "llama_server: error: the following arguments are required: -m/--model",
    ],
)
@pytest.mark.parametrize("profile", [GenericProfile, LlamaCppProfile, VllmProfile])
def test_what_argparse_refuses_no_retry_mends(profile: type[EngineProfile], line: str) -> None:
    """B-PRELOAD-x1: whichever profile a server or wrapper in Python runs under."""
    found = first_match(profile().patterns, line)
    assert found is not None
    assert (found.kind, found.heals) == (FailureClass.BAD_CONFIG, False)
    assert "correct the engine's arguments" in found.remedy
