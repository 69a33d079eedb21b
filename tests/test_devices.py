"""Device masks as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.devices import VALID, cuda_visible, mask_defect

UUID = "12345678-90ab-cdef-1234-567890abcdef"


@pytest.mark.parametrize(
    "mask",
    ["0", "0,1", "GPU0,GPU1", "gpu0, 12", f"GPU-{UUID}", f"MIG-{UUID.upper()}", f"0,MIG-{UUID}"],
)
def test_every_way_to_name_devices_is_taken(mask: str) -> None:
    """B-CONFIG-010: numbers, names and full uuids, mixed too."""
    assert mask_defect(mask) is None


@pytest.mark.parametrize(
    ("mask", "culprit"),
    [
        ("0,x", "'x'"),
        ("", "''"),
        ("0,,1", "''"),
        ("-1", "'-1'"),
        ("01", "'01'"),
        ("1e3", "'1e3'"),
        ("GPU-12345678", "'GPU-12345678'"),
        ("٣", "'٣'"),
        ("0;1", "'0;1'"),
        (f"GPU-{UUID}0", f"'GPU-{UUID}0'"),
    ],
)
def test_what_names_no_device_is_refused_by_name(mask: str, culprit: str) -> None:
    """B-CONFIG-012: the sentence has the entry itself, and what would be valid."""
    defect = mask_defect(mask)
    assert defect is not None
    assert culprit in defect
    assert "GPU0,GPU1" in defect


@pytest.mark.parametrize("mask", ["0,0", "0,GPU0", "gpu1,1", f"GPU-{UUID},gpu-{UUID}"])
def test_the_same_device_twice_is_refused(mask: str) -> None:
    """However it is written."""
    defect = mask_defect(mask)
    assert defect is not None
    assert "twice" in defect


@given(st.text())
def test_any_text_is_decided(mask: str) -> None:
    """There is no text that raises; what is refused comes with what would be valid."""
    assert (mask_defect(mask) or VALID).startswith(VALID)


@pytest.mark.parametrize(
    ("mask", "seen"),
    [
        ("0,1", "0,1"),
        ("GPU0,gpu11", "0,11"),
        (" 3 , GPU1", "3,1"),
        (f"GPU-{UUID}", f"GPU-{UUID}"),
        (f"MIG-{UUID.upper()}, GPU2", f"MIG-{UUID.upper()},2"),
    ],
)
def test_cuda_is_told_what_it_understands(mask: str, seen: str) -> None:
    """B-DEVICE-010: CUDA hides every device from an engine whose mask says GPU0; it has to say 0."""
    assert cuda_visible(mask) == seen
