"""Imagined GPUs behind NVIDIA's management library, so that its real users run on any host.

    stub = StubbedNvml(folder)                       # compiles the library there, with `cc`
    stub.show(Gpu("GPU-..."), Gpu("GPU-..."))
    os.environ |= stub.environment                   # for programs that are started from now on
    stub.xid("GPU-...", 79)                          # and so on, while they run

The library reads what it tells anew at every call. Nothing of NVIDIA's is part of it.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen

SOURCE = Path(__file__).with_name("nvml_stub.c")
GIB = 2**30
XID, DOUBLE_BIT = 8, 2
"""Types of events, as NVIDIA's library numbers them."""

HOT = 0x40
"""The reason for a lower clock that means: too hot for the hardware."""


def a_uuid(number: int, kind: str = "GPU") -> str:
    """A name as NVIDIA gives them; the same for the same number."""
    return f"{kind}-{uuid.UUID(int=number)}"


@frozen
class Gpu:
    """One GPU as the library tells of it. Memory in bytes, power in milliwatts."""

    uuid: str
    name: str = "NVIDIA Stub 80GB"
    pci: str = "00000000:01:00.0"
    compute: tuple[int, int] = (9, 0)
    total: int = 80 * GIB
    free: int = 80 * GIB
    utilisation: int = 0
    temperature: int = 40
    power: int = 70_000
    ecc: int = 0
    throttle: int = 0
    lost: bool = False
    mig: bool = False

    def line(self) -> str:
        """As the library reads it."""
        numbers = (*self.compute, self.total, self.free, self.utilisation, self.temperature, self.power)
        more = (self.ecc, self.throttle, int(self.lost), int(self.mig))
        return " ".join(("gpu", self.uuid, self.pci, *map(str, (*numbers, *more)), self.name))


@frozen
class Instance:
    """A MIG instance."""

    parent: str
    uuid: str
    total: int = 10 * GIB
    free: int = 10 * GIB
    name: str = "NVIDIA Stub MIG 1g.10gb"

    def line(self) -> str:
        """As the library reads it."""
        return f"mig {self.parent} {self.uuid} {self.total} {self.free} {self.name}"


@frozen
class Process:
    """A process with memory on a device; None: the library cannot say how much."""

    uuid: str
    pid: int
    memory: int | None
    graphics: bool = False

    def line(self) -> str:
        """As the library reads it."""
        memory = -1 if self.memory is None else self.memory
        return f"proc {self.uuid} {self.pid} {memory} {'g' if self.graphics else 'c'}"


@define
class StubbedNvml:
    """The library and what it tells, in a folder. Every change is seen at the library's next call."""

    folder: Path = field(converter=Path)
    gpus: dict[str, Gpu] = field(factory=dict, init=False)
    instances: tuple[Instance, ...] = field(default=(), init=False)
    processes: tuple[Process, ...] = field(default=(), init=False)
    functions: dict[str, str] = field(factory=dict, init=False)
    driver: str = field(default="550.54.15", init=False)
    cuda: int = field(default=12040, init=False)
    _events: list[str] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        library = self.folder / "libnvidia-ml.so.1"
        if not library.exists():
            made = self.folder / "made.so"
            command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(made), str(SOURCE), "-lpthread"]
            subprocess.run(command, check=True)
            made.rename(library)
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        """What a program has to be started with to meet these GPUs."""
        others = os.environ.get("LD_LIBRARY_PATH", "")
        path = ":".join(filter(None, (str(self.folder), others)))
        return {"LD_LIBRARY_PATH": path, "POOL_NVML_STUB": str(self.folder / "gpus")}

    def show(self, *gpus: Gpu) -> None:
        """From now on there are these."""
        self.gpus = {one.uuid: one for one in gpus}
        self._write()

    def change(self, uuid: str, **changes: Any) -> None:
        """From now on one of them is different."""
        self.gpus[uuid] = evolve(self.gpus[uuid], **changes)
        self._write()

    def cut(self, *instances: Instance) -> None:
        """From now on there are these MIG instances."""
        self.instances = instances
        self._write()

    def hold(self, *processes: Process) -> None:
        """From now on these have memory."""
        self.processes = processes
        self._write()

    def fail(self, function: str, code: int | str | None) -> None:
        """A function fails with that code from now on, or "hang"s, or there is "none"; None: it works."""
        if code is None:
            self.functions.pop(function, None)
        else:
            self.functions[function] = str(code)
        self._write()

    def xid(self, uuid: str, number: int) -> None:
        """A device reports an Xid."""
        self.event(uuid, XID, number)

    def event(self, uuid: str, kind: int, data: int = 0) -> None:
        """A device reports something."""
        self._events.append(f"event {len(self._events) + 1} {uuid} {kind} {data}")
        self._write()

    def lose(self, uuid: str, *, lost: bool = True) -> None:
        """A device no longer answers, or does again."""
        self.change(uuid, lost=lost)

    def _write(self) -> None:
        lines = [f"driver {self.driver} {self.cuda}"]
        lines += [f"fn {name} {what}" for name, what in self.functions.items()]
        lines += [one.line() for one in self.gpus.values()]
        lines += [one.line() for one in self.instances]
        lines += [one.line() for one in self.processes]
        text = "\n".join((*lines, *self._events[-60:], ""))
        new = self.folder / "gpus.new"
        new.write_text(text)
        new.replace(self.folder / "gpus")
