"""The command that shows the GPUs of a host."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.cli import gpus
from pool_lifecycle.cli.commands import cli
from pool_lifecycle.cli.exits import BY_SIGNAL, Exit
from pool_lifecycle.interfaces import Device, DeviceProcess, DriverVersions
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.testing.memory import MemoryGpuProbe

GB = 2**30
DEVICE = Device(0, "GPU-1", "NVIDIA T4", 16 * GB, 12 * GB, pci="00000000:01:00.0", compute=(7, 5))
HUNG = Cause(
    FailureClass.DEVICE_LOST, Stage.PREFLIGHT, "the driver does not \x1b[2J answer", remedy="restart the host"
)


class Probe(MemoryGpuProbe):
    """GPUs in memory, with versions. Before each look it does the next of `script`; the last stays."""

    def __init__(
        self, *script: Callable[[Probe], object], devices: Iterable[Device] = (DEVICE,), **more: Any
    ) -> None:
        super().__init__(devices, **more)
        self.script, self.looks, self.closed = [*script], 0, 0

    async def devices(self) -> tuple[Device, ...]:
        if self.script:
            self.script[min(self.looks, len(self.script) - 1)](self)
        self.looks += 1
        return await super().devices()

    async def versions(self) -> DriverVersions:
        return DriverVersions("550.54.15", (12, 4))

    async def close(self) -> None:
        self.closed += 1


def nothing(_: Probe) -> None:
    """A look like the last one."""


def fails(probe: Probe) -> None:
    """From now on."""
    probe.fail(HUNG)


def recovers(probe: Probe) -> None:
    """From now on."""
    probe.fail(None)


def interrupted(_: Probe) -> None:
    """As if somebody pressed Ctrl-C now."""
    os.kill(os.getpid(), signal.SIGINT)


def terminated(_: Probe) -> None:
    """As if somebody asked it to end."""
    os.kill(os.getpid(), signal.SIGTERM)


def shown(probe: MemoryGpuProbe, **options: Any) -> int:
    """The exit code of the command with this probe."""
    return gpus.run("nvml", drivers=Drivers({Interface.GPU_PROBE: {"nvml": probe}}), **options)


def on_terminal(monkeypatch: pytest.MonkeyPatch, kind: str = "xterm") -> io.StringIO:
    """What is written to a terminal from now on."""
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=100, highlight=False, _environ={"TERM": kind})
    monkeypatch.setattr(gpus, "console", lambda *_: terminal)
    return written


def test_it_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """The devices, and who has their memory, by the names of programs where these can be seen."""
    processes = (DeviceProcess("GPU-1", os.getpid(), 4 * GB), DeviceProcess("GPU-1", 2**22 + 1, 1))
    probe = Probe(processes=processes)
    assert shown(probe) == Exit.OK
    said = capsys.readouterr()
    assert said.err == ""
    for part in ("1 GPU, driver 550.54.15, CUDA 12.4", "NVIDIA T4", "4.0 of 16.0 GiB", str(os.getpid())):
        assert part in said.out
    rows = [line.split() for line in said.out.splitlines()]
    assert ["0", str(2**22 + 1), "-", "1", "byte"] in [row[:5] for row in rows]
    assert probe.closed == 1


def test_programs_get_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """With keys that stay."""
    probe = Probe(processes=(DeviceProcess("GPU-1", 2**22 + 1, None),))
    assert shown(probe, as_json=True) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {
        "ok": True,
        "driver": "550.54.15",
        "cuda": [12, 4],
        "devices": [
            {
                "index": 0,
                "uuid": "GPU-1",
                "name": "NVIDIA T4",
                "memory_total": 16 * GB,
                "memory_free": 12 * GB,
                "memory_used": 4 * GB,
                "pci": "00000000:01:00.0",
                "compute": [7, 5],
                "utilisation": None,
                "temperature": None,
                "power": None,
                "ecc": None,
                "parent": None,
                "partitioned": False,
                "unwell": "",
            }
        ],
        "processes": [{"uuid": "GPU-1", "pid": 2**22 + 1, "memory_used": None, "program": None}],
    }


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("every", [None, 0.01])
def test_what_cannot_be_looked_at_is_told_with_what_would_help(
    capsys: pytest.CaptureFixture[str], as_json: bool, every: float | None
) -> None:
    """With a code of its own; no traceback; what a driver says steers no terminal. FAULTS: driver hangs."""
    probe = Probe(fails)
    assert shown(probe, as_json=as_json, every=every) == Exit.NO_GPU
    said = capsys.readouterr()
    assert said.err == "the driver does not \\x1b[2J answer; restart the host\n"
    assert probe.closed == 1
    if as_json:
        assert json.loads(said.out) == {
            "ok": False,
            "message": HUNG.message,
            "remedy": HUNG.remedy,
            "heals": True,
        }
    else:
        assert said.out == ""


def test_a_host_without_gpus_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the driver answers, and has none."""
    assert shown(Probe(devices=())) == Exit.NO_GPU
    assert "no GPU that can be seen" in capsys.readouterr().err


def test_a_probe_need_not_tell_versions(capsys: pytest.CaptureFixture[str]) -> None:
    """Then none are shown."""
    assert shown(MemoryGpuProbe([DEVICE])) == Exit.OK
    assert capsys.readouterr().out.startswith("1 GPU\n")


@pytest.mark.parametrize("end", [interrupted, terminated])
def test_piped_it_is_a_line_for_each_look(
    capsys: pytest.CaptureFixture[str], end: Callable[[Probe], None]
) -> None:
    """A driver that fails meanwhile is told, and looked at again; a signal is how it ends."""
    probe = Probe(nothing, fails, recovers, end)
    assert shown(probe, every=0.001) == Exit.OK
    said = capsys.readouterr()
    found = [json.loads(line) for line in said.out.splitlines()]
    assert [one["ok"] for one in found][:3] == [True, False, True]
    assert found[1]["remedy"] == "restart the host"
    assert (said.err, probe.closed) == ("", 1)


def test_on_a_terminal_one_picture_is_kept_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn over the one before; the cursor is there again at the end."""
    written = on_terminal(monkeypatch)
    assert shown(Probe(nothing, fails, recovers, interrupted), every=0.001) == Exit.OK
    said = written.getvalue()
    for part in ("\x1b[?25l", "NVIDIA T4", "the driver does not", "\x1b[1A"):
        assert part in said
    assert said.rindex("\x1b[?25h") > said.rindex("NVIDIA T4")


def test_a_plain_terminal_gets_picture_below_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn over."""
    written = on_terminal(monkeypatch, "dumb")
    assert shown(Probe(nothing, nothing, interrupted), every=0.001) == Exit.OK
    said = written.getvalue()
    assert said.count("NVIDIA T4") >= 2
    assert "\x1b[1A" not in said


def test_a_look_that_is_interrupted_says_so_by_its_code() -> None:
    """As every command that was cut short."""
    probe = Probe(interrupted)

    async def never() -> tuple[DeviceProcess, ...]:
        await asyncio.Event().wait()
        return ()

    probe.processes = never  # type: ignore[method-assign]
    assert shown(probe) == BY_SIGNAL + signal.SIGINT
    assert probe.closed == 1


def test_the_command_line() -> None:
    """The usual probe is the one for NVIDIA's; another one can be named; one that is not there is told."""
    result = CliRunner().invoke(cli, ["gpus", "--probe", "memory"])
    assert (result.exit_code, result.stdout) == (Exit.NO_GPU, "")
    result = CliRunner().invoke(cli, ["gpus", "--probe", "nonsense"])
    assert result.exit_code == Exit.USAGE
    assert "--probe" in result.stderr
    assert "'memory'" in result.stderr
    assert CliRunner().invoke(cli, ["gpus", "--every", "0"]).exit_code == Exit.USAGE
