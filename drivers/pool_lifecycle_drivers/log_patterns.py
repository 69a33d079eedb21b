"""What the CUDA runtime, the driver, the socket layer and argparse say, whichever engine they say it through.

The order is part of the meaning, since the first match wins: out of memory is a CUDA error too, but the
more telling one, and a lost device makes every later call fail with some CUDA error.
"""

from __future__ import annotations

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.interfaces import Pattern

FREE_MEMORY = (
    "free memory on the device, spread the model over more devices, or give it a smaller context or model"
)
REPLACE_DEVICE = "look at the kernel log for Xid lines; the device needs a reset or the host a restart"
OTHER_FLAG = "correct the engine's arguments; its --help lists what this version knows"
OTHER_PORT = "end the program that holds the port, or leave the port out so that a free one is chosen"

DEVICE_PATTERNS = (
    Pattern("fallen off the bus", FailureClass.DEVICE_LOST, remedy=REPLACE_DEVICE),
    Pattern("GPU is lost", FailureClass.DEVICE_LOST, remedy=REPLACE_DEVICE),
    Pattern("ErrorDeviceLost", FailureClass.DEVICE_LOST, remedy=REPLACE_DEVICE),
    Pattern("cudaMalloc failed: out of memory", FailureClass.DEVICE_OUT_OF_MEMORY, remedy=FREE_MEMORY),
    Pattern("CUDA error: out of memory", FailureClass.DEVICE_OUT_OF_MEMORY, remedy=FREE_MEMORY),
    Pattern("CUDA out of memory", FailureClass.DEVICE_OUT_OF_MEMORY, remedy=FREE_MEMORY),
    Pattern("ErrorOutOfDeviceMemory", FailureClass.DEVICE_OUT_OF_MEMORY, remedy=FREE_MEMORY),
    Pattern("CUDA error", FailureClass.CUDA),
    Pattern("cudaErrorUnknown", FailureClass.CUDA),
)
"""A device that is lost, full, or failing."""

PORT_PATTERNS = (
    Pattern("Address already in use", FailureClass.PORT_IN_USE, remedy=OTHER_PORT),
    Pattern("address already in use", FailureClass.PORT_IN_USE, remedy=OTHER_PORT),
)
"""A port that somebody else holds, in the two spellings of libc and of asyncio."""

ARGPARSE_PATTERNS = (
    Pattern("error: unrecognized arguments:", FailureClass.BAD_CONFIG, heals=False, remedy=OTHER_FLAG),
    Pattern("error: argument -", FailureClass.BAD_CONFIG, heals=False, remedy=OTHER_FLAG),
    Pattern("error: the following arguments are required:", FailureClass.BAD_CONFIG, heals=False,
            remedy=OTHER_FLAG),
)  # fmt: skip
"""A command line that Python's argparse gives up on: an engine in Python, or a script that starts one."""
