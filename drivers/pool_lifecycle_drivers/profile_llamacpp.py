"""llama.cpp's `llama-server`, and whatever takes its command line."""

from __future__ import annotations

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.interfaces import Command, CommandContext, Echo, ExitZero, Pattern, Reach, WorkCounter
from pool_lifecycle_drivers.log_patterns import (
    ARGPARSE_PATTERNS,
    DEVICE_PATTERNS,
    FREE_MEMORY,
    OTHER_PORT,
    PORT_PATTERNS,
)

METRICS = (("LLAMA_ARG_ENDPOINT_METRICS", "1"),)

BAD_MODEL = "the model file is damaged or not what it should be: get it again"
BAD_FLAG = "correct the engine's arguments; `llama-server --help` lists what this version knows"

OWN_PATTERNS = (
    Pattern("unable to allocate CUDA", FailureClass.DEVICE_OUT_OF_MEMORY, remedy=FREE_MEMORY),
    Pattern("unable to allocate Vulkan", FailureClass.DEVICE_OUT_OF_MEMORY, remedy=FREE_MEMORY),
    Pattern("failed to allocate CUDA", FailureClass.DEVICE_OUT_OF_MEMORY, remedy=FREE_MEMORY),
    Pattern("failed to allocate Vulkan", FailureClass.DEVICE_OUT_OF_MEMORY, remedy=FREE_MEMORY),
    # Also said of an address that is not this host's: a busy port is by far the likelier reason.
    Pattern("couldn't bind HTTP server socket", FailureClass.PORT_IN_USE, remedy=OTHER_PORT),
    Pattern("error: invalid argument:", FailureClass.BAD_CONFIG, heals=False, remedy=BAD_FLAG),
    Pattern("error while handling argument", FailureClass.BAD_CONFIG, heals=False, remedy=BAD_FLAG),
    Pattern("invalid magic characters", FailureClass.BAD_CONFIG, heals=False, remedy=BAD_MODEL),
    Pattern("failed to read magic", FailureClass.BAD_CONFIG, heals=False, remedy=BAD_MODEL),
    Pattern("failed to read key-value pairs", FailureClass.BAD_CONFIG, heals=False, remedy=BAD_MODEL),
    Pattern("failed to read tensor", FailureClass.BAD_CONFIG, heals=False, remedy=BAD_MODEL),
    Pattern("error loading model: tensor '", FailureClass.BAD_CONFIG, heals=False, remedy=BAD_MODEL),
    Pattern("corrupted model:", FailureClass.BAD_CONFIG, heals=False, remedy=BAD_MODEL),
    Pattern(
        "unknown model architecture",
        FailureClass.BAD_CONFIG,
        heals=False,
        remedy="this version of the engine does not know the model: use a newer one",
    ),
    Pattern(
        "failed to open GGUF file",
        FailureClass.BAD_CONFIG,
        heals=False,
        remedy="the engine could not open the model: look at the path and at its permissions",
    ),
    # Last, and no bad configuration, which is never retried: the same words follow a want of memory.
    Pattern("failed to load model", FailureClass.EXIT, remedy="read the lines before it in {log}"),
)
"""The server's own words, in version b10434; those about memory come before those they lead to."""

RAW = (
    *("request:  ", "response: ", "next token:", "prompt:", "prompt ="),
    *("Parsing chat message:", "Parsing input with format", "Parsed message:"),
)
ECHOES = (Echo("done request: ", Reach.LINE), *(Echo(text, Reach.REST) for text in RAW))
"""What it repeats: by default no more than paths, with `--verbose` requests and answers as they came."""


WORK = WorkCounter("/metrics", ("llamacpp:n_decode_total",), pending=("llamacpp:requests_processing",))
"""It grows with every batch that is computed, while a prompt is read as while an answer is written; counts of
tokens grow only at the end of each. The path is answered between two batches, so not at all by a server
whose computing hangs, although `/health` goes on saying 200."""


class LlamaCppProfile:
    """`llama-server --host H --port P --parallel SLOTS --model M ARGS…`.

    The declared arguments come last, and of a flag given twice the server takes the last. Without a model
    there is no `--model`: the arguments may name one (`--hf-repo`), or the server may run as a router.

    Its metrics are switched on by `LLAMA_ARG_ENDPOINT_METRICS`, the variable for `--metrics`: a program that
    takes the command line but does not know it is not disturbed by it. A server that wants an API key does
    not tell its metrics, so its progress is not watched.

    `/health` is refused before the socket is bound, then 503 while the model loads, then 200.

    Exit code 0 is a crash. A server has no reason to end by itself: it exits 0 on a SIGTERM that we did
    not send, and whoever sent it did not ask the pool to stop.
    """

    name = "llama.cpp"
    health_path = "/health"
    exit_zero = ExitZero.CRASH
    work = WORK
    patterns = DEVICE_PATTERNS + OWN_PATTERNS + ARGPARSE_PATTERNS + PORT_PATTERNS
    echoes = ECHOES

    def command(self, *, context: CommandContext) -> Command:
        """The server's command line, and the variable that has it tell its metrics."""
        model = () if context.model_path is None else ("--model", context.model_path)
        flags = ("--host", context.host, "--port", str(context.port), "--parallel", str(context.slots))
        return Command((context.binary, *flags, *model, *context.args), METRICS)

    def split_flags(self, *, ratios: tuple[float, ...]) -> tuple[str, ...]:
        """`--tensor-split` with one share per device."""
        if len(ratios) <= 1:
            return ()
        return ("--tensor-split", ",".join(f"{ratio:g}" for ratio in ratios))
