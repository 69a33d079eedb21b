"""What devices' reports mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.interfaces import DeviceFault, FaultKind
from pool_lifecycle.placement.xid import (
    OTHERS,
    XIDS,
    Blame,
    blame,
    entry,
    explains,
    isolates,
    kind_of,
    remedy,
    told,
)


def xid(code: int, message: str = "") -> DeviceFault:
    return DeviceFault("GPU-1", code, message)


def other(kind: FaultKind, code: int = 0, message: str = "") -> DeviceFault:
    return DeviceFault("GPU-1", code, message, kind)


FAULTS = st.builds(DeviceFault, st.text(), st.integers(-1, 300), st.text(), st.sampled_from(FaultKind))


@pytest.mark.parametrize("code", [13, 31, 43, 45, 68, 109])
def test_what_nvidia_takes_for_the_applications_fault_isolates_nothing(code: int) -> None:
    """B-GPU-x2: NVIDIA's own device plugin lets a GPU be used after these."""
    assert not isolates(xid(code))
    assert blame(xid(code)) is not Blame.DEVICE


@pytest.mark.parametrize("code", [46, 48, 62, 64, 74, 79, 95, 110, 119, 120, 136, 140, 143, 158])
def test_what_needs_a_reset_isolates_the_device(code: int) -> None:
    """B-GPU-x2: double-bit errors, fallen off the bus, and whatever else a GPU has to be reset for."""
    assert isolates(xid(code))
    assert blame(xid(code)) is Blame.DEVICE
    assert remedy(xid(code))


@pytest.mark.parametrize("code", [63, 92, 94, 121, 154, 157])
def test_what_can_wait_takes_no_pool_down(code: int) -> None:
    """B-GPU-x2: the catalogue lets applications go on, or start again, on such a device."""
    assert not isolates(xid(code))
    assert remedy(xid(code))


@given(st.integers().filter(lambda code: code not in XIDS))
def test_an_xid_that_nobody_knows_isolates_nothing(code: int) -> None:
    """B-GPU-x2: but it may be anybody's fault, and is told by its number."""
    fault = xid(code)
    assert not isolates(fault)
    assert blame(fault) is Blame.EITHER
    assert explains(fault)
    assert told(fault) == f"Xid {code}: an error that is not in our catalogue"


def test_faults_without_an_xid() -> None:
    """B-GPU-x2: memory errors, a lost device and heat isolate it; being well again does not."""
    isolating = {kind for kind in FaultKind if kind is not FaultKind.XID and isolates(other(kind))}
    assert isolating == {FaultKind.ECC, FaultKind.LOST, FaultKind.THERMAL}
    assert set(OTHERS) == set(FaultKind) - {FaultKind.XID}
    assert not explains(other(FaultKind.WELL))
    assert not explains(other(FaultKind.THERMAL, 95))


def test_the_code_of_another_kind_is_no_xid() -> None:
    """48 memory errors are told as such, and 79 degrees are no device that is lost."""
    assert told(other(FaultKind.ECC, 48)) == "uncorrected memory errors"
    assert kind_of(other(FaultKind.THERMAL, 79)) is FailureClass.CUDA


@pytest.mark.parametrize("fault", [xid(79), other(FaultKind.LOST)])
def test_a_device_that_is_gone_is_lost(fault: DeviceFault) -> None:
    """B-SUPER-006: any other fault is a failure of CUDA."""
    assert kind_of(fault) is FailureClass.DEVICE_LOST


def test_every_other_fault_is_one_of_cuda() -> None:
    """B-SUPER-005."""
    assert {kind_of(xid(code)) for code in XIDS if code != 79} == {FailureClass.CUDA}


@pytest.mark.parametrize("code", [14, 45, 63, 92, 106, 154])
def test_a_notice_is_no_reason_to_end(code: int) -> None:
    """Whatever ends leaves Xid 45 behind; a corrected error ends nothing."""
    assert not explains(xid(code))


def test_the_drivers_own_words_are_told_too() -> None:
    """Unless they say the same."""
    assert told(xid(31, " MMU fault ")) == "Xid 31: GPU memory page fault (MMU fault)"
    assert told(xid(79, "GPU has fallen off the BUS")) == "Xid 79: GPU has fallen off the bus"
    assert told(xid(79)) == "Xid 79: GPU has fallen off the bus"
    assert told(other(FaultKind.THERMAL, 95, "95 °C")) == "slowing itself down, as it is too hot (95 °C)"


def test_the_catalogue_makes_sense() -> None:
    """Only a device's own fault isolates it, only that loses it, and whatever isolates can be remedied."""
    for one in (*XIDS.values(), *OTHERS.values()):
        assert one.name
        assert one.remedy
        assert not one.isolates or one.blame is Blame.DEVICE
        assert not one.lost or one.isolates


@given(FAULTS)
def test_any_fault_is_told(fault: DeviceFault) -> None:
    """B-GPU-x2: whatever a driver reports."""
    assert entry(fault).name in told(fault)
    assert kind_of(fault) in {FailureClass.CUDA, FailureClass.DEVICE_LOST}
    assert remedy(fault)
