"""What a device's report means: whose fault it is, and whether anything should go on running there. Pure.

An Xid is an error report of NVIDIA's driver. What each means, and what is to be done at once, is from
NVIDIA's "Analyzing Xid Errors with the Xid Catalog" (docs.nvidia.com/deploy/xid-errors), for Ampere and
newer; 61, which that no longer uses, is from its list for older GPUs. Where it wants the GPU to be reset
(RESET_GPU, RESTART_BM, or 48's and 74's own procedures) the device is isolated; where it wants the
application to be restarted, or nothing to be done, it is not.

Two exceptions. 109 resets a GPU there, but NVIDIA's k8s-device-plugin (`internal/rm/health.go`) takes it for
the application's fault, with 13, 31, 43, 45 and 68, and lets the GPU go on being used: so do we, as a device
that is at fault after all fails the next engine, too. NVLink's 144 to 150 mean anything from nothing to a
reset by a part of the report that only the kernel's log has, so they isolate nothing. Nor does an Xid that is
not listed: there are hundreds, most of them without a use.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

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
LATER = "nothing has to be done now; reset the device (nvidia-smi --gpu-reset) when that suits"
HARDWARE = "start the host anew; if it happens again, have the device looked at"
MECHANICS = "look at how the device is plugged in, and at its power"
KERNEL_LOG = "look at the kernel's log, which says whether the device has to be reset"
COOLING = "see to the cooling of the host"
NOTHING = "nothing has to be done"


@frozen
class Xid:
    """One kind of report, in a few words that can stand after "device 0 reported".

    `isolates`: nothing is to run on the device until it has been seen to. `explains`: an engine may end of
    it; other reports are notices, or come of an ending themselves. `lost`: the device is no longer there.
    """

    name: str
    blame: Blame
    isolates: bool
    remedy: str
    lost: bool = False
    explains: bool = True


def _application(name: str) -> Xid:
    return Xid(name, Blame.APPLICATION, isolates=False, remedy=RESTART)


def _either(name: str) -> Xid:
    return Xid(name, Blame.EITHER, isolates=False, remedy=RESTART)


def _device(name: str, remedy: str = RESET, *, lost: bool = False) -> Xid:
    return Xid(name, Blame.DEVICE, isolates=True, remedy=remedy, lost=lost)


def _notice(name: str, remedy: str = NOTHING, blame: Blame = Blame.DEVICE) -> Xid:
    return Xid(name, blame, isolates=False, remedy=remedy, explains=False)


def _all(numbers: Iterable[int], one: Xid) -> dict[int, Xid]:
    return dict.fromkeys(numbers, one)


XIDS: dict[int, Xid] = {
    8: _either("GPU stopped processing"),
    11: _application("invalid or corrupted push buffer stream"),
    13: _application("graphics engine exception"),
    14: _notice("an injected error, as of a test", blame=Blame.APPLICATION),
    25: _application("invalid or illegal push buffer stream"),
    31: _application("GPU memory page fault"),
    32: _either("corrupted push buffer stream, most often by a bad PCI connection"),
    37: _notice("driver firmware error", blame=Blame.APPLICATION),
    38: _notice("driver firmware error", blame=Blame.EITHER),
    **_all((39, 40, 41, 70, 71, 72, 75, 76, 77, 85, *range(126, 136)), _either("copy engine exception")),
    43: _application("GPU stopped processing what the application had asked for"),
    44: _either("graphics engine fault during a context switch"),
    45: _notice(
        "clean-up after an application that ended, or after an earlier error", NOTHING, Blame.APPLICATION
    ),
    46: _device("GPU stopped processing, and timed out"),
    48: _device("double-bit ECC error"),
    54: _device("auxiliary power not connected", MECHANICS),
    60: _application("video processor exception"),
    61: _device("internal micro-controller breakpoint or warning"),
    62: _device("internal micro-controller halt"),
    63: _notice("a row of memory that is to be remapped", LATER),
    64: _device("a row of memory that could not be remapped"),
    **_all((66, 67), _notice("illegal access by the driver", blame=Blame.EITHER)),
    68: _application("video decoder exception"),
    69: _application("graphics engine class error"),
    74: _device("NVLink error", HARDWARE),
    79: _device("GPU has fallen off the bus", HARDWARE, lost=True),
    80: _either("corrupted data sent to the GPU"),
    **_all((82, *range(99, 106)), _application("image decoder error")),
    **_all((83, 84, 88, 89, 96, 97, 98), _application("video decoder error")),
    **_all((86, 139), _application("optical flow engine error")),
    92: _notice("high rate of corrected single-bit ECC errors", HARDWARE),
    93: _notice("too many writes to its InfoROM", NOTHING),
    94: Xid("contained memory error", Blame.DEVICE, isolates=False, remedy=LATER),
    95: _device("uncontained memory error"),
    **_all((106, 107), _notice("a test message")),
    109: _either("context switch time-out"),
    110: _device("security fault", HARDWARE),
    119: _device("time-out of the GPU's system processor"),
    120: _device("error of the GPU's system processor"),
    121: _notice("corrected errors on the connection to the CPU", LATER),
    136: _device("failure to train a link"),
    137: _application("illegal access over NVLink"),
    140: _device("unrecovered ECC error"),
    141: _notice("CUDA fast path error", blame=Blame.EITHER),
    143: _device("failure to initialise the GPU"),
    **_all(range(144, 151), Xid("NVLink error", Blame.DEVICE, isolates=False, remedy=KERNEL_LOG)),
    154: _notice("change of what the device needs to recover", KERNEL_LOG),
    156: _device("retirement of a faulty part"),
    157: _notice("failure to retire a faulty part, for want of spares", HARDWARE),
    158: _device("fatal time-out"),
    171: _device("uncorrectable error of the device's memory"),
    172: _device("uncorrectable error of a memory on the chip"),
}
"""By number. 94 is contained: only the application that met the error has to end, and others may start."""

UNKNOWN = _either("an error that is not in our catalogue")

OTHERS = {
    FaultKind.ECC: _device("uncorrected memory errors"),
    FaultKind.LOST: _device("loss of contact", HARDWARE, lost=True),
    FaultKind.THERMAL: Xid(
        "slowing itself down, as it is too hot",
        Blame.DEVICE,
        isolates=True,
        remedy=COOLING,
        explains=False,  # it computes slowly, but it computes
    ),
    FaultKind.WELL: _notice("being well again"),
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


def explains(fault: DeviceFault) -> bool:
    """Whether an engine on the device may have ended of it."""
    return entry(fault).explains


def blame(fault: DeviceFault) -> Blame:
    """Whose fault it is."""
    return entry(fault).blame


def kind_of(fault: DeviceFault) -> FailureClass:
    """The class of an engine's failure that comes of it."""
    return FailureClass.DEVICE_LOST if entry(fault).lost else FailureClass.CUDA


def remedy(fault: DeviceFault) -> str:
    """What would help."""
    return entry(fault).remedy
