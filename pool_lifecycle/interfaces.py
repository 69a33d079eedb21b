"""What a driver is: small protocols, at most four verbs each; values in, values out.

A driver is any object with these methods. It never sees a pool. All arguments are keywords. Times are in
seconds. A driver raises nothing but `DriverError`, whose `cause` says what the pool needs to know; it
lets `asyncio.CancelledError` pass and leaves nothing behind when it is cancelled. The checks in
`pool_lifecycle.testing` show whether a driver keeps its promises.

A driver has the methods of its interface itself: from Python 3.12 on, `__getattr__` does not stand for them.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from attrs import field, frozen

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass
from pool_lifecycle.redaction import shown_arguments

# --- engines ---------------------------------------------------------------------------------------


@frozen
class Command:
    """What is executed: an argument list, never a shell line, and what it adds to the environment."""

    argv: tuple[str, ...] = field(repr=shown_arguments)
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@frozen
class LaunchRequest:
    """One launch of one engine. `token` names this launch and no other; the child carries it too.

    The engine's output is appended to `log_path`; its pid is written to `pid_path` before `launch`
    returns. `env_passthrough` names variables taken over from our own environment. `port` is the one the
    engine will listen on, `memory` what it will need of the host's, in bytes (None: not known).

    `orphan_grace`: an engine that we have not ended when we end, however that comes about, is asked to end
    then, and killed after so many seconds. None: it lives on, to be recovered.
    """

    pool_id: str
    generation: int
    token: str
    command: Command
    host: str
    port: int
    log_path: str
    pid_path: str
    cwd: str | None = None
    env_passthrough: tuple[str, ...] = ()
    memory: int | None = None
    orphan_grace: float | None = None


@frozen
class EngineHandle:
    """Enough to find an engine again: who it is, not how to reach it. Storable, versioned.

    `pid`, `boot_id` and `start_ticks` (clock ticks after boot at which the process started) together
    name one process for all time; a driver without local processes leaves them None and keeps what it
    needs in `details`. `driver` is empty for a launch that nobody saw succeed: then there is nothing but the
    token to tell an engine by, and port 0.
    """

    driver: str
    token: str
    host: str
    port: int
    pid: int | None = None
    boot_id: str | None = None
    start_ticks: int | None = None
    details: str = ""
    version: int = 1


@frozen
class Inspection:
    """A look at an engine's process tree: the pids alive in it and the TCP ports they listen on.

    `containment` names how strongly the tree is held together: "cgroup v2", "subreaper", "session", ….
    """

    alive: bool
    pids: tuple[int, ...] = ()
    listening: tuple[int, ...] = ()
    containment: str = "none"


@frozen
class StopReport:
    """How a stop went. It is only ever returned once nothing is left: tree empty and port free.

    `killed` says that SIGKILL was needed for at least one process of the tree. `suspects` are the pids of
    those that may have come of the launch, for all that can be seen, but are not proven to: they live on.
    """

    exit: ExitStatus
    killed: bool = False
    ended: tuple[int, ...] = ()
    suspects: tuple[int, ...] = ()


@runtime_checkable
class Engine(Protocol):
    """One running launch. One-shot: once ended it never lives again."""

    @property
    def handle(self) -> EngineHandle:
        """What to keep in order to find it again."""

    async def wait(self) -> ExitStatus:
        """Return when the engine's leading process has ended, with how. Any number may wait."""

    async def stop(self, *, kill_after: float) -> StopReport:
        """End the whole tree: ask at once, kill what is left after `kill_after` seconds.

        Returns once nothing is left and the port is free, however long that takes; the caller bounds it.
        A second call, also while the first lasts, can only make the kill come earlier. After the engine
        ended by itself it still ends what is left of the tree. Cancelling the caller stops the waiting,
        never the escalation already promised.
        """

    async def inspect(self) -> Inspection:
        """Look at the process tree now."""

    async def output(self, *, after: int) -> int:
        """Wait until the engine has written more than `after` bytes of output; return how many it has."""


@runtime_checkable
class EngineLauncher(Protocol):
    """Starts engines and finds them again."""

    async def reserve_port(self, *, host: str) -> int:
        """A TCP port on `host` that nobody holds and that was not handed out just before."""

    async def preflight(self, *, request: LaunchRequest) -> tuple[Cause, ...]:
        """Everything known beforehand to make this launch fail; empty when nothing is. Changes nothing."""

    async def launch(self, *, request: LaunchRequest) -> Engine:
        """Start the engine. On failure nothing is left behind.

        Raises DriverError with stage LAUNCH when it cannot be executed.
        """

    async def recover(self, *, handle: EngineHandle) -> Engine | None:
        """The engine of `handle` if it provably still lives, else None."""


@runtime_checkable
class Contained(Protocol):
    """What an engine may be able to do as well: say how strongly its process tree is held together."""

    @property
    def containment(self) -> str:
        """As in `Inspection`, without a look."""


@runtime_checkable
class EngineFinder(Protocol):
    """What a launcher may be able to do as well: find what a lost record was about."""

    async def find(self, *, pid_path: str) -> EngineHandle | None:
        """The handle of the engine launched with that pid file, if it provably lives, else None."""


@runtime_checkable
class ReadyLauncher(Protocol):
    """What a launcher may be able to do as well: keep ready, between launches, what they have in common."""

    def hold(self) -> Callable[[], Awaitable[None]]:
        """Keep it ready, also while no engine runs, until what is returned is called; it does not raise."""


@frozen
class Capability:
    """Something that a host may allow or not: what is `in_force` here and now, and why nothing better.

    `name` is one of "containment", "exit notice", "exit status", "adoption", "orphans", …; `better` is what
    would be in force on a host that allowed it, empty where this is the best; `remedy` what would help.
    """

    name: str
    in_force: str
    why: str = ""
    better: str = ""
    remedy: str = ""


@runtime_checkable
class Capable(Protocol):
    """What any driver may be able to do as well: say what this host allows it."""

    def capabilities(self) -> tuple[Capability, ...]:
        """What is in force. Looks at the host, but never waits."""


# --- health ----------------------------------------------------------------------------------------


@frozen
class ProbeTarget:
    """Where to look: an address, and what the kind of probe needs (`path` for HTTP, else `command`)."""

    host: str
    port: int
    path: str = "/health"
    command: tuple[str, ...] = ()


@frozen
class Health:
    """The answer of one probe. `detail` says in a few words what was seen; it never quotes a whole body.

    `silent`: nothing was answered within the time-out, which a busy engine and a hanging one have in common.
    """

    ok: bool
    detail: str
    silent: bool = False


@runtime_checkable
class HealthProbe(Protocol):
    """Asks an engine once whether it is ready."""

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        """One look, over within `timeout` seconds from first byte to last. An unhealthy engine is a value.

        Raises DriverError only when the probe itself cannot be carried out (its program is missing).
        """


@frozen
class WorkCounter:
    """A number that grows as long as an engine gets on with its work, and where it is told.

    `path` answers over HTTP in Prometheus' text format; the values of every sample of the metrics in `names`
    are added up. `pending` names gauges, added up as well, whose sum is 0 while the engine has nothing to do:
    then nothing need grow, whatever was promised to anybody. Without them, whoever holds a lease works.
    """

    path: str
    names: tuple[str, ...]
    pending: tuple[str, ...] = ()


@runtime_checkable
class WorkProbe(Protocol):
    """What a health probe may be able to do as well: read a counter of work."""

    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        """The sum of the metrics' samples at `target.path`; None when nothing usable was answered in time."""


# --- models ----------------------------------------------------------------------------------------


@frozen
class ModelDetails:
    """What a model's own header tells. `memory` is an estimate of the bytes that serving it takes.

    `architecture` and `quantisation` are the format's own words ("llama", "Q4_K_M"), empty where it has none;
    `parameters` counts weights, `context` is the length it was trained for, in tokens. None: not told.
    """

    format: str
    architecture: str = ""
    quantisation: str = ""
    parameters: int | None = None
    context: int | None = None
    memory: int | None = None


@frozen
class ModelInfo:
    """What a reference stands for before it is staged. `size` in bytes, None when it is not known."""

    reference: str
    name: str
    size: int | None = None
    details: ModelDetails | None = None


@frozen
class StagedModel:
    """A model in place: complete, readable, at a local `path`. `size` in bytes, of all its files.

    `digest` is known where one was asked for, and of what was fetched: `sha256:` and 64 hexadecimal digits.
    """

    reference: str
    path: str
    size: int
    digest: str | None = None
    details: ModelDetails | None = None


@frozen
class StageProgress:
    """How far a staging is, in bytes; `total` None when it is not known."""

    done: int
    total: int | None


@runtime_checkable
class ModelStager(Protocol):
    """Puts a model where an engine can read it."""

    async def resolve(self, *, reference: str) -> ModelInfo:
        """What the reference stands for. Raises DriverError with stage STAGING when it stands for nothing."""

    async def stage(
        self, *, reference: str, digest: str | None, progress: Callable[[StageProgress], None]
    ) -> StagedModel:
        """Put the model in place, complete or not at all. `progress` is called from the caller's loop.

        With a `digest` only a model of that digest is put in place: anything else is a DriverError.
        Several may ask for the same at once; cancelling one of them harms none of the others.
        """

    async def evict(self, *, model: StagedModel) -> bool:
        """Give back what staging took. True if something was removed; never removes a user's own file."""


InUse = Callable[[], frozenset[tuple[str, str | None]]]
"""Tells which models are in use now, each by reference and digest (None: whatever it is)."""


@runtime_checkable
class Caching(Protocol):
    """What a stager may be able to do as well: keep what it fetched, for the next time."""

    def keep_in(self, *, folder: str, limit: int | None, in_use: InUse) -> None:
        """Keep models under `folder`, at most `limit` bytes of them (None: no limit).

        What was not used for longest goes first; what is `in_use` stays, whatever the limit. Called before
        anything is staged. Nothing is made or looked at before there is something to keep.
        """


# --- GPUs ------------------------------------------------------------------------------------------


@frozen
class Device:
    """One GPU, or one MIG instance of one. Memory in bytes; None: the driver cannot say.

    `index` is the GPU's number in PCI bus order; a MIG instance has its parent's, and in `parent` its uuid.
    `pci` is the bus id as the vendor's tools write it, `compute` the compute capability. `utilisation`
    is percent, `temperature` degrees Celsius, `power` watts. `ecc` counts the uncorrected memory errors
    since the driver was loaded. `partitioned`: it is cut into MIG instances, and nothing runs on the whole.
    `unwell` says why it cannot be used ("GPU is lost"), empty while it can: then its memory is told as 0.
    """

    index: int
    uuid: str
    name: str
    memory_total: int
    memory_free: int
    pci: str = ""
    compute: tuple[int, int] | None = None
    utilisation: float | None = None
    temperature: float | None = None
    power: float | None = None
    ecc: int | None = None
    parent: str | None = None
    partitioned: bool = False
    unwell: str = ""


@frozen
class DeviceProcess:
    """A process that holds memory on a device, in bytes; None: the driver cannot say how much."""

    uuid: str
    pid: int
    memory_used: int | None


class FaultKind(enum.StrEnum):
    """What told of a device's fault."""

    XID = "xid"  # an event of NVIDIA's driver, with its number
    ECC = "ecc"  # uncorrected errors of its memory; the code is how many
    LOST = "lost"  # it no longer answers
    THERMAL = "thermal"  # it slows itself down, as it is too hot; the code is its temperature
    WELL = "well"  # no fault: it answers, is cool, ... again, after it had not


@frozen
class DeviceFault:
    """Something a device reported. `code` is the vendor's own, such as an Xid number."""

    uuid: str
    code: int
    message: str
    kind: FaultKind = FaultKind.XID


@runtime_checkable
class GpuProbe(Protocol):
    """Looks at the GPUs of a host. Never hangs: a stuck driver is a DriverError in bounded time."""

    async def devices(self) -> tuple[Device, ...]:
        """Every GPU, by index, each followed by its MIG instances. One that is lost is there, and unwell."""

    async def processes(self) -> tuple[DeviceProcess, ...]:
        """Every process holding memory on a GPU that this process may know of."""

    async def faults(self) -> tuple[DeviceFault, ...]:
        """Wait until a device reports something; return all that was reported since the last call.

        For one caller. What was reported while nobody asked is told to the next who does. A device that is
        unwell when first looked at is reported, too.
        """


@frozen
class DriverVersions:
    """Of the GPU driver, and of the newest CUDA that it supports, (major, minor); empty, None: not told."""

    driver: str
    cuda: tuple[int, int] | None = None


@runtime_checkable
class DriverTelling(Protocol):
    """What a GPU probe may be able to do as well: name the versions, and let go."""

    async def versions(self) -> DriverVersions:
        """Of what it talks to. Raises DriverError as the others do."""

    async def close(self) -> None:
        """End what it keeps going (processes, threads). Asked again, it starts anew. Does not raise."""


# --- engine profiles -------------------------------------------------------------------------------


class ExitZero(enum.StrEnum):
    """What exit code 0 of an engine that had been healthy means."""

    GRACEFUL = "graceful"
    CRASH = "crash"


@frozen
class Pattern:
    """A piece of text in an engine's own log that tells why it failed.

    `text` is looked for literally in a line (linear time, whatever the line holds). `heals` False means
    that trying again cannot help. A `{log}` in `remedy` is replaced by the path of that log.
    """

    text: str
    kind: FailureClass
    heals: bool = True
    remedy: str = ""


class Reach(enum.StrEnum):
    """How far text that an engine repeats may reach in its log."""

    LINE = "line"  # to the end of its line: line ends within it are escaped, as in JSON
    QUOTE = "quote"  # to its closing quote; if that is not on the same line, as far as REST
    REST = "rest"  # written as it came: from there on, no line is surely the engine's own


@frozen
class Echo:
    """Words in an engine's log after which it repeats what users wrote, which tells nothing about it."""

    text: str
    reach: Reach = Reach.QUOTE


ECHOES = tuple(
    Echo(text)
    for text in (
        *("prompt:", "Prompt:", "prompt=", "prompt =", "user:", "User:", "messages:", "messages="),
        *("request body:", "Request body:", "generated text:", "Generated text:"),
    )
)
"""What is taken for a mark of repeated text where a profile says nothing else."""


@frozen
class CommandContext:
    """What a profile needs to write a command line. `model_path` is None for an engine without a model."""

    binary: str
    args: tuple[str, ...]
    host: str
    port: int
    slots: int
    model_path: str | None = None


@runtime_checkable
class EngineProfile(Protocol):
    """What is particular to one kind of engine. Pure: it computes, it does nothing.

    A profile may also have `work`, a `WorkCounter`: then an engine that is silent while it gets on with its
    work is busy, and one that answers but does not get on with the work it was given hangs. It may also have
    `echoes`, a tuple of `Echo`: where its engine repeats what users wrote; else `ECHOES` are looked for.
    """

    @property
    def name(self) -> str:
        """The profile's name, as in configuration."""

    @property
    def health_path(self) -> str:
        """Where its readiness is asked for over HTTP."""

    @property
    def exit_zero(self) -> ExitZero:
        """What its exit code 0 means, unless the pool says otherwise."""

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """What its own log lines tell about a failure; the first match in this order wins."""

    def command(self, *, context: CommandContext) -> Command:
        """The command line and the environment it adds."""

    def split_flags(self, *, ratios: tuple[float, ...]) -> tuple[str, ...]:
        """Its flags for a model split over GPUs by these ratios, which sum to 1; none for a single GPU."""
