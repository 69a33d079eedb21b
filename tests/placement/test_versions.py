"""Whether a driver is new enough for an engine's CUDA."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.interfaces import DriverVersions
from pool_lifecycle.placement.versions import cuda_defect, parse_cuda, version_warning

VERSION = st.tuples(st.integers(1, 99), st.integers(0, 99))


def warning(has: tuple[int, int] | None, wanted: tuple[int, int] | None, driver: str = "535.1") -> str | None:
    return version_warning(DriverVersions(driver, has), wanted)


@pytest.mark.parametrize(
    ("has", "wanted"),
    [
        ((12, 4), (12, 4)),
        ((12, 4), (12, 3)),
        ((13, 0), (12, 9)),
        (None, (12, 4)),
        ((12, 4), None),
        (None, None),
    ],
)
def test_what_will_do_or_is_not_known_is_not_warned_of(
    has: tuple[int, int] | None, wanted: tuple[int, int] | None
) -> None:
    """Drivers run engines for any older CUDA."""
    assert warning(has, wanted) is None


def test_a_newer_major_version_will_not_run() -> None:
    """Both versions are named, and what helps."""
    assert warning((12, 2), (13, 0)) == (
        "its engine was made for CUDA 13.0, and driver 535.1 supports CUDA 12.2: it will not run, "
        "unless NVIDIA's cuda-compat package is there; "
        "install a newer driver, or an engine made for CUDA 12.2"
    )


def test_a_newer_minor_version_may_run() -> None:
    """From CUDA 11 on; before that it would not."""
    assert warning((12, 2), (12, 4)) == (
        "its engine was made for CUDA 12.4, and driver 535.1 supports CUDA 12.2: "
        "features of the newer one may be missing; a newer driver has them"
    )
    assert "will not run" not in (warning((11, 0), (11, 8)) or "will not run")
    assert "will not run" in (warning((10, 0), (10, 2)) or "")


def test_a_driver_without_a_version_is_just_the_driver() -> None:
    """A probe need not know it."""
    assert "and the driver supports" in (warning((12, 2), (12, 4), driver="") or "")


@given(VERSION, VERSION)
def test_a_warning_is_given_exactly_where_the_driver_is_older(
    has: tuple[int, int], wanted: tuple[int, int]
) -> None:
    """For any versions."""
    told = warning(has, wanted)
    assert (told is None) is (has >= wanted)
    assert told is None or (("will not run" in told) is (has[0] != wanted[0] or has[0] < 11))


@given(VERSION)
def test_a_version_is_read_as_it_is_written(version: tuple[int, int]) -> None:
    """As numbers: 12.10 is newer than 12.9."""
    text = ".".join(map(str, version))
    assert cuda_defect(text) is None
    assert parse_cuda(text) == version


@pytest.mark.parametrize(
    "bad", ["", "12", "12.", ".4", "12.4.1", "v12.4", " 12.4", "12.4\n", "١٢.٤", "١٢.4", 12.4, None]
)
def test_what_is_no_version_is_refused(bad: object) -> None:
    """With an example of one."""
    assert cuda_defect(bad) == 'must be a version of CUDA, such as "12.4"'
