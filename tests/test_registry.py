"""The registry: what is known of every pool, whole at every moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pool_lifecycle.changes import Changes
from pool_lifecycle.errors import HandoffError
from pool_lifecycle.registry import Entry, Registry
from tests.lease_books import a_book

NOW = 1_700_000_000_000


def a_registry() -> Registry:
    return Registry(lambda: NOW)


def known(registry: Registry, pool_id: str = "chat") -> Entry:
    entry = registry.get(pool_id)
    assert entry is not None
    return entry


# --- health, errors, heartbeat ---------------------------------------------------------------------


def test_an_unknown_pool_reads_as_nothing() -> None:
    """B-REG-003, B-REG-073, B-REG-095: and reading creates nothing."""
    registry = a_registry()
    assert registry.get("chat") is None
    assert registry.is_draining("chat") is False
    assert registry.active_leases("chat") == 0
    assert registry.release_lease("chat") == 0
    assert registry.entries() == ()


def test_a_new_pool_is_neither_live_nor_ready() -> None:
    """B-REG-004, B-REG-012, B-REG-022, B-REG-052, B-REG-072: every field has its default."""
    registry = a_registry()
    registry.register("chat")
    assert known(registry) == Entry(
        pool_id="chat",
        live=False,
        ready=False,
        draining=False,
        last_error=None,
        heartbeat_ms=None,
        version=None,
        engine_version=None,
        engine_digest=None,
        engine_catalog_id=None,
        device_mask=None,
        slots_total=0,
        slots_free=0,
        active_leases=0,
    )


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("ready", [False, True])
def test_health_is_a_pair(live: bool, ready: bool) -> None:
    """B-REG-001, B-REG-002: set and read back."""
    entry = a_registry().set_health("chat", live=live, ready=ready)
    assert (entry.live, entry.ready) == (live, ready)


def test_the_last_error_stays_until_overwritten_or_cleared() -> None:
    """B-REG-010..013."""
    registry = a_registry()
    registry.set_last_error("chat", "health check failed: refused")
    registry.set_health("chat", live=True, ready=True)
    assert known(registry).last_error == "health check failed: refused"
    assert registry.set_last_error("chat", "run failed").last_error == "run failed"
    assert registry.clear_last_error("chat").last_error is None


def test_the_heartbeat_is_the_wall_clock_in_milliseconds() -> None:
    """B-REG-020, B-REG-021."""
    assert a_registry().beat("chat").heartbeat_ms == NOW
    assert a_registry().update("chat", heartbeat_ms=5).heartbeat_ms == 5


# --- versions, devices, slots ----------------------------------------------------------------------


def test_registry_version_and_engine_version_are_two_fields() -> None:
    """B-REG-030..033: setting one leaves the other."""
    registry = a_registry()
    registry.update("chat", version="7")
    entry = registry.update("chat", engine_version="b4000")
    assert (entry.version, entry.engine_version) == ("7", "b4000")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"engine_version": "b2"}, ("b2", "sha256:1", "id-1")),
        ({"engine_digest": "sha256:2"}, ("b1", "sha256:2", "id-1")),
        ({"engine_catalog_id": "id-2"}, ("b1", "sha256:1", "id-2")),
        ({"engine_digest": None}, ("b1", None, "id-1")),
    ],
)
def test_engine_metadata_can_be_changed_in_part(change: Any, expected: tuple[str | None, ...]) -> None:
    """B-REG-040..045: only the given fields; None is a value."""
    registry = a_registry()
    registry.update("chat", engine_version="b1", engine_digest="sha256:1", engine_catalog_id="id-1")
    entry = registry.update("chat", **change)
    assert (entry.engine_version, entry.engine_digest, entry.engine_catalog_id) == expected


def test_the_device_mask_is_kept() -> None:
    """B-REG-050, B-REG-051."""
    registry = a_registry()
    registry.update("chat", device_mask="GPU0,GPU1")
    registry.set_health("chat", live=True, ready=True)
    assert known(registry).device_mask == "GPU0,GPU1"
    assert registry.update("chat", device_mask=None).device_mask is None


@pytest.mark.parametrize(
    ("total", "free", "expected"),
    [(4, 2, (4, 2)), (4, 9, (4, 4)), (4, -1, (4, 0)), (0, 0, (0, 0)), (-3, 2, (0, 0))],
)
def test_free_slots_stay_between_zero_and_total(total: int, free: int, expected: tuple[int, int]) -> None:
    """B-REG-060..064."""
    entry = a_registry().set_slots("chat", total, free)
    assert (entry.slots_total, entry.slots_free) == expected


def test_fewer_slots_clamp_the_free_ones() -> None:
    """B-REG-063: also when only the total changes."""
    registry = a_registry()
    registry.set_slots("chat", 8, 6)
    assert registry.update("chat", slots_total=2).slots_free == 2


def test_draining_is_set_and_unset() -> None:
    """B-REG-070, B-REG-071."""
    registry = a_registry()
    registry.update("chat", draining=True)
    assert registry.is_draining("chat") is True
    registry.update("chat", draining=False)
    assert registry.is_draining("chat") is False


# --- coming and going ------------------------------------------------------------------------------


def test_registering_is_true_the_first_time() -> None:
    """B-REG-080..082: the second time nothing changes."""
    registry = a_registry()
    assert registry.register("chat") is True
    registry.set_health("chat", live=True, ready=True)
    assert registry.register("chat") is False
    assert known(registry).ready is True


def test_deregistering_is_true_if_it_existed() -> None:
    """B-REG-083..085: and the pool is unknown afterwards; registered anew it is a new one."""
    registry = a_registry()
    assert registry.deregister("chat") is False
    registry.set_health("chat", live=True, ready=True)
    registry.count_from("chat", a_book())
    assert registry.deregister("chat") is True
    assert registry.get("chat") is None
    assert registry.register("chat") is True
    assert known(registry) == Entry("chat")


def test_an_update_merges_and_creates() -> None:
    """B-REG-110..112."""
    registry = a_registry()
    assert registry.update("chat", live=True, version="1") == Entry("chat", live=True, version="1")
    assert registry.update("chat", version="2") == Entry("chat", live=True, version="2")


def test_an_unknown_field_is_refused_and_changes_nothing() -> None:
    """A typing error must not vanish."""
    registry = a_registry()
    registry.register("chat")
    with pytest.raises(TypeError, match="lvie"):
        registry.update("chat", lvie=True)  # type: ignore[call-arg]
    assert known(registry) == Entry("chat")


def test_snapshots_have_every_pool_sorted_by_id() -> None:
    """B-REG-120..123."""
    registry = a_registry()
    for pool_id in ("b", "c", "a", "a.1"):
        registry.set_last_error(pool_id, f"error of {pool_id}")
    assert [(entry.pool_id, entry.last_error) for entry in registry.entries()] == [
        (pool_id, f"error of {pool_id}") for pool_id in ("a", "a.1", "b", "c")
    ]


# --- leases ----------------------------------------------------------------------------------------


def test_leases_are_counted_up_and_down_but_not_below_zero() -> None:
    """B-REG-090..094, B-REG-096: pools are independent."""
    registry = a_registry()
    assert [registry.allocate_lease("chat"), registry.allocate_lease("chat")] == [1, 2]
    assert registry.allocate_lease("other") == 1
    assert [registry.release_lease("chat") for _ in range(3)] == [1, 0, 0]
    assert registry.active_leases("chat") == 0
    assert registry.active_leases("other") == 1


def test_with_a_book_the_count_is_that_of_its_leases() -> None:
    """B-REG-x1: derived at the moment of reading, slots included; by hand it can no longer be changed."""
    registry = a_registry()
    book = a_book(4)
    registry.count_from("chat", book)
    lease = book.acquire("a")
    book.acquire("b")
    for entry in (known(registry), registry.entries()[0], registry.update("chat", live=True)):
        assert (entry.active_leases, entry.slots_total, entry.slots_free) == (2, 4, 2)
    lease.release()
    assert registry.active_leases("chat") == 1
    for by_hand in (registry.allocate_lease, registry.release_lease):
        with pytest.raises(ValueError, match="lease book"):
            by_hand("chat")


# --- handoff ---------------------------------------------------------------------------------------


def test_a_handoff_makes_a_pool_ready() -> None:
    """B-REG-100..103: live, ready, with what the document says, no error, heard of now."""
    registry = a_registry()
    registry.set_last_error("chat", "run failed")
    document = {"engine_version": "b4000", "device_mask": "0", "slots_total": 4, "slots_free": 3, "new": 1}
    entry = registry.register_ready_from_handoff("chat", document)
    assert entry == Entry(
        "chat",
        live=True,
        ready=True,
        heartbeat_ms=NOW,
        engine_version="b4000",
        device_mask="0",
        slots_total=4,
        slots_free=3,
    )
    assert known(registry) == entry


def test_what_a_handoff_lacks_is_left_alone() -> None:
    """B-REG-104, B-REG-105: but free slots still fit the total."""
    registry = a_registry()
    registry.update("chat", engine_version="b1", device_mask="1", slots_total=4, slots_free=1, version="7")
    entry = registry.register_ready_from_handoff("chat", {"slots_free": 9})
    assert (entry.engine_version, entry.device_mask, entry.version) == ("b1", "1", "7")
    assert (entry.slots_total, entry.slots_free) == (4, 4)


def test_a_handoff_of_a_wrong_type_changes_nothing() -> None:
    """B-REG-107: no entry is made, none is changed, nothing is published."""
    registry = a_registry()
    registry.set_last_error("chat", "run failed")
    before = registry.snapshot()
    for pool_id in ("chat", "unknown"):
        with pytest.raises(HandoffError, match="slots"):
            registry.register_ready_from_handoff(pool_id, {"engine_version": "b2", "slots": "four"})
    assert registry.snapshot() == before


# --- the stream ------------------------------------------------------------------------------------


def test_every_change_is_published_with_what_changed() -> None:
    """B-REG-x3: in order; only the fields that are different."""
    registry = a_registry()
    registry.set_health("chat", live=True, ready=False)
    registry.update("chat", live=True, ready=True, slots_total=2, slots_free=5)
    registry.allocate_lease("chat")
    registry.deregister("chat")
    assert [(one.kind, one.pool_id, one.data) for one in registry.changes.since(0)] == [
        ("registered", "chat", {}),
        ("changed", "chat", {"live": True}),
        ("changed", "chat", {"ready": True, "slots_total": 2, "slots_free": 2}),
        ("changed", "chat", {"active_leases": 1}),
        ("deregistered", "chat", {}),
    ]


NOTHING_NEW: list[Callable[[Registry], object]] = [
    lambda registry: registry.update("chat"),
    lambda registry: registry.register("chat"),
    lambda registry: registry.set_health("chat", live=True, ready=True),
    lambda registry: registry.clear_last_error("chat"),
    lambda registry: registry.beat("chat"),
    lambda registry: registry.set_slots("chat", 4, 99),
    lambda registry: registry.release_lease("chat"),
    lambda registry: registry.deregister("unknown"),
    lambda registry: registry.register_ready_from_handoff("chat", {"slots": 4}),
]


@pytest.mark.parametrize("say_again", NOTHING_NEW)
def test_a_change_that_changes_nothing_is_not_published(say_again: Callable[[Registry], object]) -> None:
    """V8: a steady pool makes no events."""
    registry = a_registry()
    registry.register_ready_from_handoff("chat", {"slots": 4})
    before = registry.snapshot()
    say_again(registry)
    assert registry.snapshot() == before


def test_an_empty_stream_of_the_caller_is_used() -> None:
    """The manager shares one stream among all who publish."""
    changes = Changes(4)
    registry = Registry(lambda: NOW, changes)
    registry.register("chat")
    assert registry.changes is changes
    assert changes.last == 1


def test_a_snapshot_and_the_stream_fit_together() -> None:
    """B-REG-x3: a snapshot plus what follows its number is the registry, whenever it was taken."""
    registry = a_registry()
    stop = threading.Event()

    def beat() -> None:
        for number in range(1, 2000):
            registry.update(f"pool-{number % 3}", heartbeat_ms=number, version=str(number))
        stop.set()

    snapshot = registry.snapshot()
    writer = threading.Thread(target=beat)
    writer.start()
    while not stop.is_set():
        snapshot = registry.snapshot()
        for entry in snapshot.entries:
            assert entry.version == (None if entry.heartbeat_ms is None else str(entry.heartbeat_ms))
    writer.join()
    replayed = {entry.pool_id: entry.heartbeat_ms for entry in snapshot.entries}
    for change in registry.changes.since(snapshot.number):
        replayed[change.pool_id or ""] = change.data.get("heartbeat_ms")
    assert replayed == {entry.pool_id: entry.heartbeat_ms for entry in registry.entries()}


def test_threads_that_count_at_once_lose_no_lease() -> None:
    """Each allocation and release counts once."""
    registry = a_registry()

    def work() -> None:
        for _ in range(200):
            registry.allocate_lease("chat")
            registry.allocate_lease("chat")
            registry.release_lease("chat")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.active_leases("chat") == 800
