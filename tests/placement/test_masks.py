"""Device masks against the devices that a host has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.devices import cuda_visible, devices_of
from pool_lifecycle.interfaces import Device
from pool_lifecycle.placement.masks import Resolved, names_of, resolve


def uuid(kind: str, number: int) -> str:
    return f"{kind}-00000000-0000-0000-0000-{number:012d}"


FIRST, SECOND = (Device(number, uuid("GPU", number), "a GPU", 8, 8) for number in (0, 1))
CUT = Device(2, uuid("GPU", 2), "a GPU", 8, 8, partitioned=True)
PARTS = tuple(Device(2, uuid("MIG", number), "a part", 4, 4, parent=CUT.uuid) for number in (7, 8))
INSTANCES = ", ".join(one.uuid for one in PARTS)
HOST = (FIRST, SECOND, CUT, *PARTS)


@pytest.mark.parametrize(
    ("mask", "devices"),
    [
        ("0", (FIRST,)),
        ("1,0", (SECOND, FIRST)),
        (" GPU1 , gpu0", (SECOND, FIRST)),
        (f"{SECOND.uuid.upper()},0", (SECOND, FIRST)),
        (PARTS[1].uuid, (PARTS[1],)),
        (f"{PARTS[1].uuid},{PARTS[0].uuid}", (PARTS[1], PARTS[0])),
    ],
)
def test_entries_stand_for_devices_in_the_order_of_the_mask(mask: str, devices: tuple[Device, ...]) -> None:
    """B-DEVICE-001: numbers, names and uuids, however they are written."""
    assert resolve(mask, HOST) == Resolved(devices)


@pytest.mark.parametrize(
    ("mask", "defect"),
    [
        ("7", f"there is no device 7 on this host; there are: 0 ({FIRST.uuid}), 1 ({SECOND.uuid})"),
        (
            uuid("MIG", 9),
            f"there is no MIG instance {uuid('MIG', 9)} on this host; there are: {INSTANCES}",
        ),
        (f"0,{FIRST.uuid}", f"{FIRST.uuid} is device 0 ({FIRST.uuid}), which is there already"),
        (
            "GPU2",
            f"device 2 is cut into MIG instances, of which one has to be named: {INSTANCES}",
        ),
    ],
)
def test_what_names_no_device_is_told_by_name(mask: str, defect: str) -> None:
    """B-DEVICE-003: with what there is instead."""
    (told,) = resolve(mask, HOST).defects
    assert told.startswith(defect)


def test_a_host_without_gpus_is_told_so() -> None:
    """B-DEVICE-003: nobody looks for a typing error then."""
    assert resolve("0", ()).defects == ("there is no device 0 on this host; there are: none",)
    (told,) = resolve(uuid("MIG", 9), (FIRST,)).defects
    assert told.endswith("there are: none")
    (told,) = resolve("2", (CUT,)).defects
    assert told.endswith("has to be named: none yet")


def test_a_number_never_means_a_part() -> None:
    """A MIG instance has its parent's number, and CUDA would give the engine something else."""
    assert resolve("2", PARTS).devices == ()
    assert names_of(PARTS[0]) == {PARTS[0].uuid.lower()}


def test_what_can_be_used_is_found_beside_what_cannot() -> None:
    """Every wrong entry is told at once."""
    found = resolve("5,1,2", HOST)
    assert found.devices == (SECOND,)
    assert found.defects[0].startswith("there is no device 5 on this host")
    assert len(found.defects) == 2


ENTRIES = st.sampled_from([*map(str, range(4)), *(f"GPU{one}" for one in range(4)), *(d.uuid for d in HOST)])


@given(st.lists(ENTRIES, min_size=1, max_size=6).map(",".join), st.sets(st.sampled_from(HOST)))
def test_every_entry_is_a_device_or_a_defect(mask: str, seen: set[Device]) -> None:
    """B-DEVICE-002, 003: nothing is left out, no device is there twice, and each has been named."""
    host = tuple(one for one in HOST if one in seen)
    found = resolve(mask, host)
    assert len(found.devices) + len(found.defects) == len(cuda_visible(mask).split(","))
    assert len(set(found.devices)) == len(found.devices)
    for device in found.devices:
        assert device in host
        assert not device.partitioned
        assert names_of(device) & devices_of(mask)


@given(st.permutations(HOST), st.permutations(["0", "1", *(one.uuid for one in PARTS)]))
def test_how_the_devices_were_listed_does_not_matter(host: list[Device], entries: list[str]) -> None:
    """B-DEVICE-010: the mask alone says which device is the engine's first."""
    found = resolve(",".join(entries), host).devices
    assert found == resolve(",".join(entries), HOST).devices
    assert all(entry.lower() in names_of(one) for entry, one in zip(entries, found, strict=True))
