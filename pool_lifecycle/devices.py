"""Device masks as text: which GPUs an engine may see. What is on the host is not looked at here."""

from __future__ import annotations

import re

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_DEVICE = re.compile(rf"(?:gpu)?(?P<index>0|[1-9][0-9]{{0,2}})|(?:gpu|mig)-{_UUID}")

VALID = "must be device numbers (0,1), names (GPU0,GPU1) or full GPU-<uuid> or MIG-<uuid> names, each once"


def mask_defect(mask: object) -> str | None:
    """What is wrong with a mask such as `0,1`, by the name of the entry; None when it is well formed.

    Case does not matter, nor does space around the commas. `0` and `GPU0` are the same device.
    """
    if not isinstance(mask, str):
        return VALID
    seen: set[str] = set()
    for entry in mask.split(","):
        match = _DEVICE.fullmatch(entry.strip().lower())
        if match is None:
            return f"{VALID}; {entry.strip()[:60]!r} is none of them"
        device = match["index"] or match.group()
        if device in seen:
            return f"{VALID}; {entry.strip()!r} is there twice"
        seen.add(device)
    return None


def devices_of(mask: str) -> frozenset[str]:
    """The devices of a well-formed mask: numbers, and uuids in lower case."""
    return frozenset(_cuda_device(entry).lower() for entry in mask.split(","))


def cuda_visible(mask: str) -> str:
    """A well-formed mask as CUDA reads it: numbers without a name, full uuids, no space."""
    return ",".join(map(_cuda_device, mask.split(",")))


def _cuda_device(entry: str) -> str:
    match = _DEVICE.fullmatch(entry.strip().lower())
    assert match is not None  # the mask was checked when the pool was declared
    return match["index"] or entry.strip()
