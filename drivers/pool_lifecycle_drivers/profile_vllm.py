"""vLLM's OpenAI-compatible server."""

from __future__ import annotations

from attrs import evolve

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Command, CommandContext, Echo, ExitZero, Pattern, Reach, WorkCounter
from pool_lifecycle_drivers.log_patterns import (
    ARGPARSE_PATTERNS,
    DEVICE_PATTERNS,
    FREE_MEMORY,
    PORT_PATTERNS,
)

NAME = "vllm"

EVEN = 0.01
"""How far a share may be from an even one. Written as two decimals, a third is 0.33 or 0.34."""

BAD_FLAG = "correct the engine's arguments; `vllm serve --help=all` lists what this version knows"
BAD_MODEL = "look at the model's path or name: it needs its config.json and weights of a supported kind"

OWN_PATTERNS = (
    Pattern(
        "is less than desired GPU memory utilization",
        FailureClass.DEVICE_OUT_OF_MEMORY,
        remedy="free memory on the device, or lower --gpu-memory-utilization",
    ),
    Pattern(
        "No available memory for the cache blocks", FailureClass.DEVICE_OUT_OF_MEMORY, remedy=FREE_MEMORY
    ),
    *(evolve(pattern, remedy=BAD_FLAG) for pattern in ARGPARSE_PATTERNS),
    Pattern(
        "is not a local folder and is not a valid model identifier",
        FailureClass.BAD_CONFIG,
        heals=False,
        remedy=BAD_MODEL,
    ),
    Pattern(
        "Invalid repository ID or local directory specified",
        FailureClass.BAD_CONFIG,
        heals=False,
        remedy=BAD_MODEL,
    ),
    Pattern("EngineDeadError", FailureClass.EXIT, remedy="read the engine core's lines before it in {log}"),
    Pattern(
        "Engine core initialization failed",
        FailureClass.EXIT,
        remedy="read the engine core's lines before it in {log}",
    ),
)
"""The server's own words. The last two only say that the core is dead: why stands in earlier lines."""

ECHOES = tuple(
    Echo(text, Reach.LINE) for text in ("Received request ", "Generated response ", "prompt: ", "body=")
)
"""What it repeats, with `--enable-log-requests` and its like: always as Python literals, so on one line."""


WORK = WorkCounter(
    "/metrics",
    ("vllm:prompt_tokens_total", "vllm:generation_tokens_total"),
    pending=("vllm:num_requests_running", "vllm:num_requests_waiting"),
)
"""Tokens of prompts count once a whole prompt has been read, those of answers with each step. With
`--disable-log-stats` the server does not count; then its progress is not watched."""


class VllmProfile:
    """`vllm serve MODEL --host H --port P --max-num-seqs SLOTS ARGS…`.

    The declared arguments come last, and of a flag given twice the server takes the last. Without a model
    there is none on the command line, and the arguments must name one.

    Exit code 0 is a crash: when the engine core dies, the API server in front of it shuts down in good
    order and exits 0.
    """

    name = NAME
    health_path = "/health"
    exit_zero = ExitZero.CRASH
    work = WORK
    patterns = DEVICE_PATTERNS + OWN_PATTERNS + PORT_PATTERNS
    echoes = ECHOES

    def command(self, *, context: CommandContext) -> Command:
        """The server's command line; nothing is added to the environment."""
        model = () if context.model_path is None else (context.model_path,)
        flags = ("--host", context.host, "--port", str(context.port), "--max-num-seqs", str(context.slots))
        return Command((context.binary, "serve", *model, *flags, *context.args))

    def split_flags(self, *, ratios: tuple[float, ...]) -> tuple[str, ...]:
        """`--tensor-parallel-size` with the number of devices.

        Raises DriverError for uneven shares: vLLM gives each device the same, so the plan would not hold.
        """
        devices = len(ratios)
        if devices <= 1:
            return ()
        if any(abs(ratio - 1 / devices) > EVEN for ratio in ratios):
            raise DriverError(NAME, _uneven(ratios))
        return ("--tensor-parallel-size", str(devices))


def _uneven(ratios: tuple[float, ...]) -> Cause:
    shares = ", ".join(f"{ratio:g}" for ratio in ratios)
    return Cause(
        FailureClass.BAD_CONFIG,
        Stage.PREFLIGHT,
        f"vLLM cannot split a model unevenly ({shares})",
        heals=False,
        remedy="give every device the same share, or use devices of one size",
    )
