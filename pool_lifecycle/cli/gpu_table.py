"""The GPUs of a host and who has their memory, for people: a table, or a list on a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from pool_lifecycle.cli.words import printable
from pool_lifecycle.interfaces import Device, DeviceProcess, DriverVersions
from pool_lifecycle.wording import part, plural, size

NARROW = 84
"""Columns below which the numbers of a GPU stand below its memory rather than beside it."""

FULL_NAMES = 100
"""Columns from which on there is room for a uuid of 40 characters."""

BEGINNING = 12
"""Characters of a shortened uuid that are always shown: `GPU-` and eight more."""

LONGEST_NAME = 28
"""Columns for the name of a GPU where its uuid is shortened, at most."""

WIDEST = 120
"""Columns beyond which nothing gets any easier to read."""

UNKNOWN = "-"


@frozen
class Seen:
    """The GPUs at one moment. `programs` has the names of processes, by pid, as far as they can be seen."""

    devices: tuple[Device, ...]
    processes: tuple[DeviceProcess, ...] = ()
    versions: DriverVersions = field(default=DriverVersions(""))
    programs: Mapping[int, str] = field(factory=dict)


def picture(seen: Seen, width: int) -> RenderableType:
    """All of it, for a terminal of `width` columns."""
    uuids = [one.uuid for one in seen.devices]
    names = {uuid: uuid for uuid in uuids} if width >= FULL_NAMES else shortened(uuids)
    top = Text(printable(heading(seen)), "dim")
    return Group(top, _devices(seen.devices, names, width), Text(), _processes(seen, width))


def heading(seen: Seen) -> str:
    """What there is, and of which driver."""
    gpus = [one for one in seen.devices if one.parent is None]
    instances = len(seen.devices) - len(gpus)
    words = [plural(len(gpus), "GPU"), plural(instances, "MIG instance") if instances else ""]
    words += [f"driver {seen.versions.driver}" if seen.versions.driver else "", f"{_cuda(seen.versions)}"]
    return ", ".join(filter(None, words))


def _cuda(versions: DriverVersions) -> str:
    return "" if versions.cuda is None else f"CUDA {'.'.join(map(str, versions.cuda))}"


def shortened(uuids: Sequence[str]) -> dict[str, str]:
    """So much of each that they can be told apart; one that is short stays as it is."""
    for tail in range(0, 36, 4):
        short = [_cut(uuid, tail) for uuid in uuids]
        if len(set(short)) == len(set(uuids)):
            return dict(zip(uuids, short, strict=True))
    return {uuid: uuid for uuid in uuids}


def _cut(uuid: str, tail: int) -> str:
    if len(uuid) <= BEGINNING + 1 + tail:
        return uuid
    return f"{uuid[:BEGINNING]}…{uuid[len(uuid) - tail :]}"


# --- devices -------------------------------------------------------------------------------------------


def _devices(devices: Sequence[Device], names: Mapping[str, str], width: int) -> Table:
    if width < NARROW:
        return _list(devices, names)
    table = Table(box=None, padding=(0, 2, 0, 0), width=min(width, WIDEST))
    table.add_column("gpu", no_wrap=True, style="bold")
    table.add_column("name", overflow="fold", max_width=LONGEST_NAME if width < FULL_NAMES else None)
    table.add_column("memory", ratio=1, overflow="fold")
    for heading_ in _NUMBERS:
        table.add_column(heading_, justify="right", no_wrap=True)
    for one in devices:
        name = Text(f"{printable(one.name)}\n").append(printable(names[one.uuid]), "dim")
        table.add_row(_place(one), name, _memory(one), *_numbers(one))
    return table


def _list(devices: Sequence[Device], names: Mapping[str, str]) -> Table:
    """The same, line below line."""
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(ratio=1, overflow="fold")
    for one in devices:
        name, numbers = Text(printable(one.name)), Text("  ".join(_in_words(one)))
        lines = (name, Text(printable(names[one.uuid]), "dim"), _memory(one), numbers)
        table.add_row(_place(one), Group(*lines[: 4 if numbers else 3]))
    return table


_NUMBERS = ("busy", "temp", "power", "ECC")


def _place(device: Device) -> Text:
    return Text(str(device.index)) if device.parent is None else Text(" └ MIG", "dim")


def _memory(device: Device) -> RenderableType:
    """A bar, and below it how much that is; of a device that cannot be used, why not."""
    if device.unwell:
        return Text(f"cannot be used: {printable(device.unwell)}", "bold red")
    used, total = device.memory_total - device.memory_free, device.memory_total
    style = "red" if total and used >= _FULL * total else "green"
    words = Text(f"{part(used, total)}{', cut into instances' if device.partitioned else ''}")
    return Group(_Bar(used / total if total else 0.0, style), words)


@frozen
class _Bar:
    """A line that is filled so far; where there is no colour, it shows as well."""

    share: float
    style: str

    def __rich_console__(self, to: Console, options: ConsoleOptions) -> RenderResult:
        full, rest = "#." if options.ascii_only else "━┄"
        filled = min(options.max_width, round(self.share * options.max_width))
        yield Text(full * filled, self.style).append(rest * (options.max_width - filled), "dim")


_FULL = 0.95
"""The share of memory in use from which on hardly anything fits any more."""


def _numbers(device: Device) -> tuple[Text, ...]:
    return (
        _number(device.utilisation, "%"),
        _number(device.temperature, "°C"),
        _number(device.power, "W"),
        _errors(device.ecc),
    )


def _number(value: float | None, unit: str) -> Text:
    return Text(UNKNOWN, "dim") if value is None else Text(f"{value:.0f} {unit}")


def _errors(count: int | None) -> Text:
    """Uncorrected ones: there should be none."""
    return Text(UNKNOWN, "dim") if count is None else Text(str(count), "bold red" if count else "")


def _in_words(device: Device) -> Iterator[str]:
    known = (device.utilisation, device.temperature, device.power)
    for value, unit in zip(known, ("%", "°C", "W"), strict=True):
        if value is not None:
            yield f"{value:.0f} {unit}"
    if device.ecc is not None:
        yield f"ECC {device.ecc}"


# --- processes -----------------------------------------------------------------------------------------


def _processes(seen: Seen, width: int) -> RenderableType:
    if not seen.processes:
        return Text("No process is seen that holds memory of them.", "dim")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("gpu", no_wrap=True, style="bold")
    table.add_column("pid", justify="right", no_wrap=True)
    table.add_column("program", overflow="fold")
    table.add_column("memory", justify="right", no_wrap=True)
    if exactly := width >= NARROW:
        table.add_column("bytes", justify="right", no_wrap=True, style="dim")
    places = _places(seen.devices)
    for one in _in_order(seen):
        held = (UNKNOWN, "") if one.memory_used is None else (size(one.memory_used), str(one.memory_used))
        program = Text(printable(seen.programs.get(one.pid, UNKNOWN)))
        place = Text(printable(places.get(one.uuid, one.uuid)))
        table.add_row(place, str(one.pid), program, *held[: 2 if exactly else 1])
    return table


def _places(devices: Sequence[Device]) -> dict[str, str]:
    """What a device is called here: its number, or that of its parent and the beginning of its own uuid."""
    instances = shortened([one.uuid for one in devices if one.parent is not None])
    return {
        one.uuid: str(one.index) if one.parent is None else f"{one.index} {instances[one.uuid]}"
        for one in devices
    }


def _in_order(seen: Seen) -> list[DeviceProcess]:
    """By device; whoever has the most comes first."""
    order = {one.uuid: number for number, one in enumerate(seen.devices)}
    return sorted(
        seen.processes, key=lambda one: (order.get(one.uuid, len(order)), -(one.memory_used or 0), one.pid)
    )
