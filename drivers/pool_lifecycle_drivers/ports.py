"""TCP ports: who listens on them, whether they are free, and which to hand out."""

from __future__ import annotations

import errno
import functools
import os
import re
import socket
import sys
from collections.abc import Iterable

from attrs import frozen

from pool_lifecycle_drivers.offload import in_thread
from pool_lifecycle_drivers.procfs import all_pids, program_name

LISTEN = b" 0A "
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound
SOCKET = re.compile(r"socket:\[(\d+)\]")


@frozen
class Listener:
    """A TCP socket that takes connections. `inode` is its name, `uid` the user who made it."""

    address: str
    port: int
    inode: int
    uid: int


@frozen
class Owner:
    """A process that holds a socket."""

    pid: int
    program: str

    def __str__(self) -> str:
        return f"{self.program or 'a program'} (pid {self.pid})"


def listeners() -> list[Listener]:
    """Every listening TCP socket of this network namespace.

    There may be tens of thousands of connections in the same list, so only the rows wanted are taken apart.
    """
    found = []
    for family, path in ((socket.AF_INET, "/proc/net/tcp"), (socket.AF_INET6, "/proc/net/tcp6")):
        try:
            with open(path, "rb") as file:
                rows = [row for row in file.read().splitlines() if LISTEN in row]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        found += [_listener(family, row.decode().split()) for row in rows]
    return found


def _listener(family: socket.AddressFamily, row: list[str]) -> Listener:
    address, _, port = row[1].partition(":")
    return Listener(_address(family, address), int(port, 16), inode=int(row[9]), uid=int(row[7]))


def _address(family: socket.AddressFamily, text: str) -> str:
    """The kernel prints addresses as 32-bit words in the host's own byte order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    return socket.inet_ntop(family, b"".join(word.to_bytes(4, sys.byteorder) for word in words))


def socket_inodes(pids: Iterable[int]) -> frozenset[int]:
    """The sockets these processes hold; none of those that are gone, or that we may not look into."""
    links = (link for pid in pids for link in _open_files(pid))
    return frozenset(int(match[1]) for link in links if (match := SOCKET.fullmatch(link)))


def _open_files(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    try:
        return [_link(f"{folder}/{name}") for name in os.listdir(folder)]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""


def owner(inode: int) -> Owner | None:
    """A process that holds the socket, None when we cannot see one."""
    wanted = f"socket:[{inode}]"
    return next((Owner(pid, program_name(pid)) for pid in all_pids() if wanted in _open_files(pid)), None)


async def addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """The addresses `host` stands for; a numeric one is not looked up. Raises OSError (`gaierror`)."""
    try:
        return list(_numeric(host))
    except socket.gaierror:
        return await in_thread(lambda: _look_up(host))
    except ValueError as error:  # not even a name: a part is too long, or empty
        raise OSError(errno.EINVAL, f"{error}") from error


@functools.lru_cache(maxsize=256)
def _numeric(host: str) -> tuple[tuple[socket.AddressFamily, str], ...]:
    """What a numeric address stands for, which never changes: it is asked for at every step of a launch."""
    return tuple(_look_up(host, socket.AI_NUMERICHOST))


def _look_up(host: str, flags: int = 0) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def try_bind(family: socket.AddressFamily, address: str, port: int) -> int:
    """Bind the port for a moment; the port that was bound. Raises OSError when it cannot be.

    With SO_REUSEADDR, which on Linux lets connections in TIME_WAIT pass and still refuses a port that is
    listened on. Port 0, any free one, is asked for without it, so that it is one that nothing uses at all.
    """
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if port:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind((address, port))
        return int(probe.getsockname()[1])


def holders(found: Iterable[Listener], names: Iterable[str], port: int) -> list[Listener]:
    """Those of the sockets `found` that keep one of these addresses from being listened on."""
    wanted = frozenset(names)
    everywhere = bool(wanted & WILDCARDS)
    return [
        one
        for one in found
        if one.port == port and (everywhere or one.address in WILDCARDS or one.address in wanted)
    ]


class PortBook:
    """Hands out free ports, none twice while the first is pending: reserved, or held by an engine.

    A reservation that comes to nothing is forgotten after `EXPIRY` seconds; longer than any staging lasts.
    """

    EXPIRY = 3600.0
    TRIES = 200

    def __init__(self) -> None:
        self._pending: dict[int, float] = {}
        self._many = 64

    def reserve(self, found: list[tuple[socket.AddressFamily, str]], now: float) -> int:
        """A port that is free on every one of the addresses. Raises OSError when there is none."""
        self._forget_expired(now)
        failure = OSError("every free port found has been handed out already")
        for _ in range(self.TRIES):
            port = try_bind(*found[0], 0)
            if self._pending.get(port, now) > now:
                continue
            try:
                for family, address in found[1:]:
                    try_bind(family, address, port)
            except OSError as error:
                failure = error
                continue
            self._pending[port] = now + self.EXPIRY
            return port
        raise failure

    def _forget_expired(self, now: float) -> None:
        """From time to time: there may be thousands."""
        if len(self._pending) >= self._many:
            self._pending = {port: until for port, until in self._pending.items() if until > now}
            self._many = max(64, 2 * len(self._pending))

    def hold(self, port: int) -> None:
        """An engine uses it: it is pending until it is released."""
        self._pending[port] = float("inf")

    def release(self, port: int) -> None:
        """It may be handed out again."""
        self._pending.pop(port, None)
