"""What this host, and the program we are part of, allow a launcher of local processes.

Looks, but never waits, and changes nothing. Each answer is for people: what is in force, why nothing better,
and what would help.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal

from pool_lifecycle.interfaces import Capability
from pool_lifecycle_drivers import pidfd_info, pinned, signals
from pool_lifecycle_drivers.kernel_log import KernelLog
from pool_lifecycle_drivers.oom import OomKills

KERNEL_TELLS = "told by the kernel"
LOST = "lost"

SA_NOCLDWAIT = 2
_FLAGS = ctypes.sizeof(ctypes.c_void_p) + 128
"""Where the flags stand in glibc's and musl's `struct sigaction`: behind the handler and the mask."""

_libc = ctypes.CDLL(None)


def of_host(oom: OomKills) -> tuple[Capability, ...]:
    """Everything but how engines are held together, and what ends them after us."""
    return (
        exit_notice(),
        exit_status(),
        adoption(),
        signals_of_engines(),
        kernel_log(oom.log),
        oom_counter(oom),
    )


def exit_notice() -> Capability:
    """How the end of a process is noticed."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        polling = f"looked for every {pinned.POLL:g} s"
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            why, remedy = "no descriptor is left", "raise the limit on open files (`ulimit -n`)"
        else:
            why = f"pidfd_open is not available: {error.strerror}"
            remedy = "use Linux 5.3 or later, and a sandbox that lets pidfd_open through"
        return Capability("exit notice", polling, why, "pidfd, at once", remedy)
    return Capability("exit notice", "pidfd, at once")


def exit_status() -> Capability:
    """Whether it is known how an engine of our launch ended."""
    name, best = "exit status", "known"
    why, remedy = _what_takes_it()
    if not why:
        return Capability(name, best)
    if pidfd_info.is_told():
        return Capability(name, KERNEL_TELLS, why)
    return Capability(name, LOST, why, best, remedy)


def _what_takes_it() -> tuple[str, str]:
    """Who gets an engine's exit status in our place, and what would help; empty while nobody is known to."""
    if _ignores_children():
        return (
            "this program ignores SIGCHLD",
            "call signal.signal(signal.SIGCHLD, signal.SIG_DFL), or wait for children by their pids",
        )
    if pinned.Pinned.taken:
        return (
            "something in this program waits for any child (`waitpid(-1)`), and took one of an engine",
            "let it wait for its own children only, by their pids",
        )
    return "", ""


def _ignores_children() -> bool:
    """As the kernel has it: other code than Python's may have asked for that, also by a flag."""
    action = ctypes.create_string_buffer(1024)
    if _libc.sigaction(int(signal.SIGCHLD), None, action):
        return False
    handler = ctypes.c_void_p.from_buffer(action).value or 0
    flags = ctypes.c_int.from_buffer(action, _FLAGS).value
    return handler == int(signal.SIG_IGN) or bool(flags & SA_NOCLDWAIT)


def adoption() -> Capability:
    """Whether it is known how an engine ended that an earlier manager launched."""
    name, best = "adopted exit status", KERNEL_TELLS
    if pidfd_info.is_told():
        return Capability(name, best)
    why = "this kernel tells nobody but the parent of a process how it ended"
    return Capability(name, LOST, why, best, "use Linux 6.15 or later")


def signals_of_engines() -> Capability:
    """Whether engines can hear what they are sent, whatever our program does."""
    name, best = "signals of engines", "as at the start of a program"
    passed = sorted(signals.passed_on())
    if signals.can_reset() or not passed:
        return Capability(name, best)
    named = ", ".join(signal.Signals(number).name for number in passed)
    why = f"this program blocks or ignores {named}, and its engines inherit that"
    remedy = "use glibc 2.34 or later, or let the thread that launches engines neither block nor ignore them"
    return Capability(name, f"without {named}", why, best, remedy)


def kernel_log(log: KernelLog) -> Capability:
    """Whether the kernel's log can be asked who was killed for want of memory."""
    name, best = "kernel log", "readable"
    why = log.refusal()
    if not why:
        return Capability(name, best)
    remedy = "let this program read /dev/kmsg (CAP_SYSLOG), outside a container with pids of its own"
    return Capability(name, "not readable", why, best, remedy)


def oom_counter(oom: OomKills) -> Capability:
    """Whether the kernel counts what it killed for want of memory where engines are."""
    name, best = "OOM counter", "of the memory cgroup"
    group = oom.groups.own
    if group is not None and group.kills() is not None:
        return Capability(name, f"{best} {group.name}")
    why = "no memory cgroup is shown to this program" if group is None else f"{group.folder} does not say"
    counted = oom.log.count_now() is not None
    in_force = "of the whole host" if counted else "none"
    return Capability(name, in_force, why, best, "mount /sys/fs/cgroup into the container")
