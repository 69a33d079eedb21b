"""Metrics of the host's devices, for `metrics`. They are what the last regular look has seen."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from pool_lifecycle.device_records import DevicesSeen, DeviceWell
from pool_lifecycle.interfaces import Device
from pool_lifecycle.records import Record


@define(eq=False)
class DeviceCounts:
    """The devices as seen last, by probe, and how often one has come back after it had gone."""

    seen: dict[str, tuple[Device, ...]] = field(factory=dict)
    resets: int = 0

    def count(self, record: Record) -> None:
        """Take note of it, if it concerns a device."""
        if isinstance(record, DevicesSeen):
            self.seen[record.probe] = record.devices
        elif isinstance(record, DeviceWell):
            self.resets += record.reset

    def families(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        total = GaugeMetricFamily("device_vram_total_bytes", "Memory of a device", labels=("device",))
        free = GaugeMetricFamily("device_vram_free_bytes", "Of that, what is free", labels=("device",))
        for one in {one.uuid: one for devices in self.seen.values() for one in devices}.values():
            total.add_metric((one.uuid,), one.memory_total)
            free.add_metric((one.uuid,), one.memory_free)
        resets = CounterMetricFamily("driver_reset", "Devices that came back after they had gone")
        resets.add_metric((), self.resets)
        yield from (total, free, resets)
