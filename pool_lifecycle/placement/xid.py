"""What a device's report means: whose fault it is, and whether anything should go on running there. Pure.

An Xid is an error report of NVIDIA's driver. What each means, and what is to be done at once, is from
NVIDIA's "Analyzing Xid Errors with the Xid Catalog" (docs.nvidia.com/deploy/xid-errors; its RESTART_APP
is taken for the application's fault, RESET_GPU, RESTART_BM and CONTACT_SUPPORT for the device's). The Xids
that NVIDIA's k8s-device-plugin takes for the application's (`internal/rm/health.go`: 13, 31, 43, 45, 68, 109)
are so here, too. An Xid that is not listed isolates nothing: there are hundreds, most of them reserved.
"""

from __future__ import annotations

import enum

from attrs import frozen

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.interfaces import DeviceFault, FaultKind


class Blame(enum.StrEnum):
    """Whose fault something is."""

    APPLICATION = "application"
    DEVICE = "device"
    EITHER = "either"


RESTART = (
    "look at what the engine was doing; on another device, or with another version of it, it may not happen"
)
RESET = "drain the host and reset the device (nvidia-smi --gpu-reset), or start the host anew"
HARDWARE = "start the host anew; if it happens again, have the device looked at"
COOLING = "see to the cooling of the host"


@frozen
class Xid:
    """One kind of report. `isolates`: nothing is to run on the device until it has been seen to."""

    name: str
    blame: Blame
    isolates: bool
    remedy: str
    lost: bool = False


def _application(name: str) -> Xid:
    return Xid(name, Blame.APPLICATION, isolates=False, remedy=RESTART)


def _device(name: str, remedy: str = RESET, *, lost: bool = False) -> Xid:
    return Xid(name, Blame.DEVICE, isolates=True, remedy=remedy, lost=lost)


XIDS = {
    8: _application("GPU stopped processing"),
    11: _application("invalid or corrupted push buffer stream"),
    13: _application("graphics engine exception"),
    31: _application("GPU memory page fault"),
    32: _application("invalid or corrupted push buffer stream"),
    43: _application("GPU stopped processing"),
    45: _application("preemptive cleanup after an earlier error"),
    46: _device("GPU stopped processing, time-out"),
    48: _device("double-bit ECC error"),
    61: _device("internal micro-controller breakpoint or warning"),
    62: _device("internal micro-controller halt"),
    63: Xid("a memory row is to be remapped", Blame.DEVICE, isolates=False, remedy=RESET),
    64: _device("a memory row could not be remapped"),
    68: _application("video processor exception"),
    69: _application("graphics engine class error"),
    74: _device("NVLink error", HARDWARE),
    79: _device("GPU has fallen off the bus", HARDWARE, lost=True),
    92: Xid("high rate of single-bit ECC errors", Blame.DEVICE, isolates=False, remedy=HARDWARE),
    94: Xid("contained memory error", Blame.EITHER, isolates=False, remedy=RESET),
    95: _device("uncontained memory error"),
    109: _application("context switch time-out"),
    110: _device("security fault", HARDWARE),
    119: _device("the GPU's system processor does not answer"),
    120: _device("the GPU's system processor failed"),
    136: _device("the memory's link could not be trained", HARDWARE),
    140: _device("unrecovered ECC error"),
    143: _device("the GPU could not be initialised"),
}
"""By number. 94 is contained: only the application that met the error has to end, which it does by itself."""

UNKNOWN = Xid("an error that is not in our catalogue", Blame.EITHER, isolates=False, remedy=RESTART)

OTHERS = {
    FaultKind.ECC: _device("uncorrected memory errors"),
    FaultKind.LOST: _device("the device no longer answers", HARDWARE, lost=True),
    FaultKind.THERMAL: Xid(
        "it slows itself down, as it is too hot", Blame.DEVICE, isolates=True, remedy=COOLING
    ),
    FaultKind.WELL: Xid("it is well again", Blame.EITHER, isolates=False, remedy=""),
}
"""Faults that come without an Xid."""


def entry(fault: DeviceFault) -> Xid:
    """What the catalogue has for it."""
    return OTHERS.get(fault.kind) or XIDS.get(fault.code, UNKNOWN)


def told(fault: DeviceFault) -> str:
    """In words, with the driver's own where it has some."""
    known = entry(fault)
    what = f"Xid {fault.code}: {known.name}" if fault.kind is FaultKind.XID else known.name
    own = fault.message.strip()
    return f"{what} ({own})" if own and own.lower() not in what.lower() else what


def isolates(fault: DeviceFault) -> bool:
    """Whether nothing is to run on the device until it has been seen to."""
    return entry(fault).isolates


def blame(fault: DeviceFault) -> Blame:
    """Whose fault it is."""
    return entry(fault).blame


def kind_of(fault: DeviceFault) -> FailureClass:
    """The class of an engine's failure that comes of it."""
    return FailureClass.DEVICE_LOST if entry(fault).lost else FailureClass.CUDA


def remedy(fault: DeviceFault) -> str:
    """What would help."""
    return entry(fault).remedy
