"""Whether a GPU driver is new enough for the CUDA that an engine was made for. Pure.

An engine runs on any driver for a CUDA of the same major version from 11 on, with fewer features where the
driver's is older; for a newer major version it needs NVIDIA's cuda-compat package, which there is for
data-centre GPUs ("CUDA Compatibility", docs.nvidia.com/deploy/cuda-compatibility).
"""

from __future__ import annotations

import re

from pool_lifecycle.interfaces import DriverVersions

_CUDA = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})")

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
    driver = f"driver {versions.driver}" if versions.driver else "the driver"
    what = f"its engine was made for CUDA {needs}, and {driver} supports CUDA {supports}"
    if has[0] == wanted[0] >= MINOR_COMPATIBLE:
        return f"{what}: features of the newer one may be missing; a newer driver has them"
    help_ = f"install a newer driver, or an engine made for CUDA {supports}"
    return f"{what}: it will not run, unless NVIDIA's cuda-compat package is there; {help_}"
