"""Whether a GPU driver is new enough for the CUDA that an engine was made for. Pure.

An engine runs on any driver for a CUDA of the same major version from 11 on, though features of a newer minor
version may be missing: NVIDIA, "CUDA Compatibility", minor version compatibility.
"""

from __future__ import annotations

import re

from pool_lifecycle.interfaces import DriverVersions

_CUDA = re.compile(r"(\d{1,3})\.(\d{1,3})")

MINOR_COMPATIBLE = 11
"""The first major version within which any minor version will do."""


def cuda_defect(value: object) -> str | None:
    """What is wrong with a version of CUDA such as "12.4"; None when nothing is."""
    well = isinstance(value, str) and _CUDA.fullmatch(value) is not None
    return None if well else 'must be a version of CUDA, such as "12.4"'


def parse_cuda(text: str) -> tuple[int, int]:
    """A well-formed version as numbers."""
    match = _CUDA.fullmatch(text)
    assert match is not None  # it was checked when it was declared
    return int(match[1]), int(match[2])


def version_warning(versions: DriverVersions, wanted: tuple[int, int] | None) -> str | None:
    """What may go wrong; None where nothing will, or nobody can know."""
    has = versions.cuda
    if wanted is None or has is None or has >= wanted:
        return None
    needs, supports = (".".join(map(str, one)) for one in (wanted, has))
    what = f"its engine was made for CUDA {needs}, and driver {versions.driver} supports CUDA {supports}"
    if has[0] == wanted[0] >= MINOR_COMPATIBLE:
        return f"{what}: features of the newer one may be missing; a newer driver has them"
    return f"{what}: it will not run; install a newer driver, or an engine made for CUDA {supports}"
