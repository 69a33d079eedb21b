"""The process that talks to NVIDIA's library for us, so that a hanging driver hangs nothing but this.

It is run by its path and imports nothing of ours. It answers requests, a line of JSON each, on its input,
with a line each on its output, in their order; in between it tells of faults. It ends when its input does,
that is, also when whoever started it was killed, whatever it waits for.

    {"id": 1, "ask": "devices"}        {"id": 1, "answer": [...]}  or  {"id": 1, "error": [code, text]}
                                       {"faults": [[uuid, kind, code, text], ...]}   none: it listens now
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

EVENT_WAIT_MS = 1000
"""Milliseconds for which events are waited for at a time."""

HOT_TWICE = 2
"""In so many looks in a row a device has to be too hot to be at fault."""

FRESH = 1.0
"""Seconds for which it is not asked again which devices there are: whoever looks asks for several things."""

DOUBLE_BIT = 48
"""The Xid of a double-bit error, of which there is an event of its own."""

TOO_HOT = 0x40
"""Of the reasons for a lower clock the one that NVML calls a hardware thermal slowdown."""

Gpu = list[list[Any]]
"""The fields of a GPU's `Device`, and those of its instances."""

PCI = 5
"""Where among these its address on the bus is; empty while it cannot be read."""

NO_PYNVML = -1
"""The code of an error that is told where there is no `pynvml` to ask."""


class Nvml:
    """The library, and what is known of the devices that it has shown."""

    def __init__(self, pynvml: Any) -> None:
        self.pynvml = pynvml
        self.lock = threading.Lock()
        self.ready = False
        self.known: dict[str, list[Any]] = {}
        self.places: dict[int, str] = {}
        self.met: dict[str, Any] = {}
        self.met_at = -FRESH

    def begin(self) -> None:
        """Initialise it, unless that has been done. Raises NVMLError."""
        if not self.ready:
            self.pynvml.nvmlInit()
            self.ready = True

    def again(self) -> None:
        """Let go of it, so that it looks for devices anew."""
        if self.ready:
            self.ready, self.met_at = False, -FRESH
            with contextlib.suppress(self.pynvml.NVMLError):
                self.pynvml.nvmlShutdown()

    # --- devices ---------------------------------------------------------------------------------------

    def devices(self) -> list[list[Any]]:
        """The fields of every `Device`, in the order of the bus; each GPU is followed by its instances."""
        self.begin()
        self.met, self.met_at = {}, -FRESH
        listed = {gpu[0][1]: gpu for gpu in map(self._gpu, range(self.pynvml.nvmlDeviceGetCount()))}
        gone = [known for uuid, known in self.known.items() if uuid not in listed]
        ordered = _by_bus(listed.values(), [[_lost(one, "the driver no longer lists it")] for one in gone])
        for index, gpu in enumerate(ordered):
            for one in gpu:
                one[0] = index
            if gpu[0][1] in self.places.values():  # else nobody has read its name yet
                self.known[gpu[0][1]] = gpu[0]
        self.met_at = time.monotonic()
        return [one for gpu in ordered for one in gpu]

    def handles(self) -> Iterator[tuple[str, Any]]:
        """Every device that can be asked, and its instances, by uuid."""
        if time.monotonic() - self.met_at < FRESH:
            yield from self.met.items()
            return
        nvml = self.pynvml
        for place in range(nvml.nvmlDeviceGetCount()):
            with contextlib.suppress(nvml.NVMLError):
                handle = nvml.nvmlDeviceGetHandleByIndex(place)
                yield nvml.nvmlDeviceGetUUID(handle), handle
                for instance in self._instances(handle) if self._partitioned(handle) else ():
                    yield nvml.nvmlDeviceGetUUID(instance), instance

    def _gpu(self, place: int) -> list[list[Any]]:
        nvml = self.pynvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(place)
            gpu = self._fields(handle)
        except nvml.NVMLError as error:
            uuid = self.places.get(place, f"GPU-at-{place}")
            known = self.known.get(uuid) or [place, uuid, "unknown", 0, 0, "", *[None] * 6, False, ""]
            return [_lost(known, str(error))]
        self.places[place] = gpu[1]
        self.met[gpu[1]] = handle
        gpu[12] = self._partitioned(handle)
        instances = [self._instance(one, gpu) for one in self._instances(handle)] if gpu[12] else []
        return [gpu, *instances]

    def _instance(self, handle: Any, gpu: list[Any]) -> list[Any]:
        fields = self._fields(handle, parent=gpu)
        self.met[fields[1]] = handle
        return fields

    def _fields(self, handle: Any, parent: list[Any] | None = None) -> list[Any]:
        nvml, ask = self.pynvml, self.ask
        uuid, memory = nvml.nvmlDeviceGetUUID(handle), ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        fixed = self.known.get(uuid)
        total, free = (memory.total, memory.free) if memory else (fixed[3] if fixed else 0, 0)
        name = fixed[2] if fixed else ask(nvml.nvmlDeviceGetName, handle) or "unknown"
        if parent is not None:
            of_parent = parent[5], parent[6], *[None] * 4, parent[1]
            return [0, uuid, name, total, free, *of_parent, False, ""]
        pci = fixed[5] if fixed else _text(getattr(ask(nvml.nvmlDeviceGetPciInfo, handle), "busId", ""))
        compute = fixed[6] if fixed else ask(nvml.nvmlDeviceGetCudaComputeCapability, handle)
        rates = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = ask(nvml.nvmlDeviceGetPowerUsage, handle)
        return [
            *(0, uuid, name, total, free, pci, compute),
            None if rates is None else rates.gpu,
            ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            None if power is None else power / 1000,
            self.ecc(handle),
            *(None, False, ""),
        ]

    def _instances(self, handle: Any) -> Iterator[Any]:
        nvml = self.pynvml
        for number in range(self.ask(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            instance = self.ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
            if instance is not None:
                yield instance

    def _partitioned(self, handle: Any) -> bool:
        mode = self.ask(self.pynvml.nvmlDeviceGetMigMode, handle)
        return bool(mode and mode[0])

    def ecc(self, handle: Any) -> int | None:
        """Uncorrected errors of its memory since the driver was loaded."""
        nvml = self.pynvml
        kind, counter = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        count: int | None = self.ask(nvml.nvmlDeviceGetTotalEccErrors, handle, kind, counter)
        return count

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the library says; None where this driver or device does not know it."""
        nvml = self.pynvml
        try:
            return function(*arguments)
        except nvml.NVMLError as error:
            if error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_UNKNOWN):
                raise
            return None

    # --- processes, versions ---------------------------------------------------------------------------

    def processes(self) -> list[list[Any]]:
        """The fields of every `DeviceProcess`."""
        self.begin()
        nvml, found = self.pynvml, dict[tuple[str, int], int | None]()
        for uuid, handle in self.handles():
            for function in (
                nvml.nvmlDeviceGetComputeRunningProcesses,
                nvml.nvmlDeviceGetGraphicsRunningProcesses,
            ):
                for one in self.ask(function, handle) or ():
                    before, now = found.get((uuid, one.pid), 0), one.usedGpuMemory
                    found[uuid, one.pid] = None if before is None or now is None else max(before, now)
        return [[uuid, pid, memory] for (uuid, pid), memory in found.items()]

    def versions(self) -> list[Any]:
        """The fields of `DriverVersions`."""
        self.begin()
        nvml = self.pynvml
        cuda = self.ask(nvml.nvmlSystemGetCudaDriverVersion)
        return [
            _text(self.ask(nvml.nvmlSystemGetDriverVersion) or ""),
            None if not cuda else [cuda // 1000, cuda % 1000 // 10],
        ]


def _by_bus(listed: Iterable[Gpu], gone: Iterable[Gpu]) -> list[Gpu]:
    """In the order of the bus. One whose address cannot be read stays behind the one listed before it."""
    address, addressed = "", list[tuple[str, Gpu]]()
    for gpu in listed:
        address = gpu[0][PCI] or address
        addressed.append((address, gpu))
    addressed += [(gpu[0][PCI], gpu) for gpu in gone]
    return [gpu for _, gpu in sorted(addressed, key=itemgetter(0))]


def _lost(known: list[Any], why: str) -> list[Any]:
    """A device that was known, and cannot be asked now."""
    return [*known[:3], 0, 0, *known[5:7], *[None] * 4, known[11], known[12], why]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


class Watch:
    """Listens to the devices' own reports, and looks now and then for what nobody reports."""

    def __init__(self, nvml: Nvml, tell: Callable[[list[list[Any]]], None], every: float) -> None:
        self._nvml = nvml
        self._tell = tell
        self._looks = max(1, round(every * 1000 / EVENT_WAIT_MS))
        self._unwell: dict[str, str] = {}
        self._ecc: dict[str, int] = {}
        self._hot: dict[str, int] = {}
        self._set: Any = None
        self._handles: dict[str, Any] = {}
        self._uuids: dict[int | None, str] = {}

    def run(self) -> None:
        """For ever. The library is locked but while events are waited for."""
        number = 0
        while True:
            try:
                if self._set is None or number % self._looks == 0:
                    with self._nvml.lock:
                        self._look()
                number += 1
                self._wait()
            except Exception:  # noqa: BLE001 - no driver, or one that goes away: look again later
                number = 0
                self._set = None
                threading.Event().wait(EVENT_WAIT_MS / 1000)

    def _look(self) -> None:
        devices = self._nvml.devices()
        faults = [fault for one in devices if one[11] is None for fault in self._about(one)]
        faults += self._renamed({one[1] for one in devices})
        if faults:
            self._tell(faults)
        if any(fault[1] in ("lost", "well") for fault in faults):
            self._set = None  # there are other devices to listen to
        if self._unwell:
            self._nvml.again()  # it looks for devices anew; those that are lost may be back
            self._nvml.begin()
            self._set = None
        if self._set is None:
            self._listen()
            self._tell([])

    def _about(self, one: list[Any]) -> Iterator[list[Any]]:
        """The news of one device."""
        uuid, why = one[1], one[13]
        if bool(why) != (uuid in self._unwell):
            if why:
                self._unwell[uuid] = why
                yield [uuid, "lost", 0, why]
            else:
                del self._unwell[uuid]
                self._ecc.pop(uuid, None)
                yield [uuid, "well", 0, "it answers again"]
        if not why:
            yield from self._errors(uuid, one[10])
            yield from self._heat(uuid, one[8])

    def _renamed(self, uuids: set[str]) -> list[list[Any]]:
        """The news of those that were known by their place, and can tell their own names now."""
        renamed = self._unwell.keys() - uuids
        for uuid in renamed:
            del self._unwell[uuid]
        return [[uuid, "well", 0, "it answers now, by a name of its own"] for uuid in renamed]

    def _errors(self, uuid: str, count: int | None) -> Iterator[list[Any]]:
        if count is not None:
            before = self._ecc.get(uuid, count)  # what was before us has had its consequences
            self._ecc[uuid] = count
            if count > before:
                yield [uuid, "ecc", count - before, f"{count} since the driver was loaded"]

    def _heat(self, uuid: str, temperature: int | None) -> Iterator[list[Any]]:
        looks, hot = self._hot.get(uuid, 0), self._is_hot(uuid)
        self._hot[uuid] = looks + 1 if hot else 0
        if hot and looks + 1 == HOT_TWICE:
            yield [uuid, "thermal", temperature or 0, f"{temperature} degrees Celsius"]
        elif not hot and looks >= HOT_TWICE:
            yield [uuid, "well", 0, "it is cool enough again"]

    def _is_hot(self, uuid: str) -> bool:
        nvml = self._nvml.pynvml
        if uuid not in self._handles:
            return False
        reasons = self._nvml.ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, self._handles[uuid])
        return bool((reasons or 0) & TOO_HOT)

    def _listen(self) -> None:
        """Ask for the events that each device can tell."""
        nvml = self._nvml.pynvml
        self._set, self._handles = nvml.nvmlEventSetCreate(), dict(self._nvml.handles())
        self._uuids = {_address(handle): uuid for uuid, handle in self._handles.items()}
        wanted = nvml.nvmlEventTypeXidCriticalError | nvml.nvmlEventTypeDoubleBitEccError
        for handle in self._handles.values():
            if types := (self._nvml.ask(nvml.nvmlDeviceGetSupportedEventTypes, handle) or 0) & wanted:
                self._nvml.ask(nvml.nvmlDeviceRegisterEvents, handle, types, self._set)

    def _wait(self) -> None:
        nvml = self._nvml.pynvml
        try:
            event = nvml.nvmlEventSetWait(self._set, EVENT_WAIT_MS)
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_TIMEOUT:
                raise
            return
        uuid = self._uuids.get(_address(event.device))
        if uuid is not None and event.eventType == nvml.nvmlEventTypeXidCriticalError:
            self._tell([[uuid, "xid", event.eventData, ""]])
        elif uuid is not None:
            self._tell([[uuid, "xid", DOUBLE_BIT, ""]])


def _address(handle: Any) -> int | None:
    """What tells two handles apart: they are pointers."""
    address: int | None = ctypes.cast(handle, ctypes.c_void_p).value
    return address


class _Missing:
    """In the place of the library where there is none to ask."""

    class NVMLError(Exception):
        """Never raised."""

        value = NO_PYNVML

    def nvmlInit(self) -> None:  # noqa: N802 - the library's name
        """Say so."""
        raise self.NVMLError("the package nvidia-ml-py is not installed")


def _library() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return _Missing()


def main(every: float) -> None:
    """Answer until there is nobody to ask."""
    answers_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    threading.Thread(target=_end_with_input, daemon=True).start()
    telling = threading.Lock()

    def tell(message: dict[str, Any]) -> None:
        with telling:
            answers_to.write(json.dumps(message, separators=(",", ":")) + "\n")
            answers_to.flush()

    nvml = Nvml(_library())
    watch = Watch(nvml, lambda faults: tell({"faults": faults}), every)
    answers = {"devices": nvml.devices, "processes": nvml.processes, "versions": nvml.versions}
    watching = False
    for line in sys.stdin:
        request = json.loads(line)
        if request["ask"] == "watch":
            if not watching:
                watching = True
                threading.Thread(target=watch.run, daemon=True).start()
            continue
        tell(_answer(nvml, request, answers[request["ask"]]))


def _answer(nvml: Nvml, request: dict[str, Any], function: Callable[[], Any]) -> dict[str, Any]:
    try:
        with nvml.lock:
            return {"id": request["id"], "answer": function()}
    except nvml.pynvml.NVMLError as error:
        return {"id": request["id"], "error": [error.value, str(error)]}


def _end_with_input() -> None:
    """Nobody asks any more: whatever hangs in the library cannot keep this from ending the process."""
    end = select.poll()
    end.register(sys.stdin, 0)  # its end is told all the same, and nothing else
    end.poll()
    os._exit(0)


if __name__ == "__main__":
    main(float(sys.argv[1]))
