"""Signals that our program blocks or ignores: what is executed inherits both, and an engine must not.

An engine that does not hear SIGTERM cannot be asked to end; one for which SIGCHLD is ignored loses its own
workers' exit statuses. `subprocess` passes both on, but for SIGPIPE and a few. To unblock them in our thread
for as long as a launch takes would let in what the program keeps out on purpose, and kill it.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pool_lifecycle_drivers.cgroups import read
from pool_lifecycle_drivers.environment import find_program

_RESTORED = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""Python ignores these itself; `subprocess` gives children the defaults again."""

_VALID = tuple(map(int, signal.valid_signals()))
"""Asked for once: Python makes an object for every number, at every launch."""

_MASKS = ("SigBlk", "SigIgn")
"""In the status of a thread: what it blocks, and what its program ignores."""

_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80
_OPAQUE = 1024
"""Bytes that every structure of <spawn.h> and <signal.h> fits in: the largest has 336."""

_CHDIR: Final = "posix_spawn_file_actions_addchdir_np"
_CLOSEFROM: Final = "posix_spawn_file_actions_addclosefrom_np"

_libc: Final = ctypes.CDLL(None)


def passed_on() -> frozenset[int]:
    """The numbers of the signals that a child of this thread would have blocked or ignored."""
    lines = (read("/proc/thread-self/status") or "").splitlines()
    masks = [int(value, 16) for name, _, value in (line.partition(":") for line in lines) if name in _MASKS]
    either = functools.reduce(operator.or_, masks, 0)
    return frozenset(number for number in _VALID if either >> (number - 1) & 1) - _RESTORED


def can_reset() -> bool:
    """Whether this host's C library can start a program with all of them as they are at first."""
    return all(hasattr(_libc, name) for name in (_CHDIR, _CLOSEFROM))


def spawn_reset(argv: Sequence[str], environment: Mapping[str, str], cwd: str | None, log: int) -> int:
    """As `subprocess.Popen` would, but with no signal blocked or ignored; returns the pid.

    Raises OSError, with the file it is about, or ValueError.
    """
    program = find_program(argv[0], environment, cwd)
    if program is None:
        raise FileNotFoundError(2, os.strerror(2), cwd if cwd and not os.path.isdir(cwd) else argv[0])
    words, variables = _words(argv), _words(_variables(environment))
    actions, attributes, pid = _actions(log, cwd), _attributes(), ctypes.c_int()
    try:
        path = os.fsencode(os.path.abspath(program))
        error = _libc.posix_spawn(ctypes.byref(pid), path, actions, attributes, words, variables)
    finally:
        _libc.posix_spawn_file_actions_destroy(actions)
        _libc.posix_spawnattr_destroy(attributes)
    if error:
        at_fault = cwd if cwd and not os.access(cwd, os.X_OK) else argv[0]
        raise OSError(error, os.strerror(error), at_fault)
    return pid.value


def _variables(environment: Mapping[str, str]) -> list[str]:
    for name in environment:
        if not name or "=" in name:
            raise ValueError("illegal environment variable name")
    return [f"{name}={value}" for name, value in environment.items()]


def _words(words: Sequence[str]) -> Any:
    encoded = [os.fsencode(word) for word in words]
    if any(b"\0" in word for word in encoded):
        raise ValueError("embedded null byte")
    return (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)


def _actions(log: int, cwd: str | None) -> Any:
    """/dev/null as input, the log as output, nothing else open."""
    actions = ctypes.create_string_buffer(_OPAQUE)
    _do(_libc.posix_spawn_file_actions_init(actions))
    for number in (1, 2):
        _do(_libc.posix_spawn_file_actions_adddup2(actions, log, number))
    _do(_libc.posix_spawn_file_actions_addopen(actions, 0, b"/dev/null", os.O_RDONLY, 0))
    if cwd is not None:
        _do(getattr(_libc, _CHDIR)(actions, os.fsencode(cwd)))
    _do(getattr(_libc, _CLOSEFROM)(actions, 3))
    return actions


def _attributes() -> Any:
    """A session of its own, no signal blocked, every one as it is at first."""
    attributes, signals = (ctypes.create_string_buffer(_OPAQUE) for _ in range(2))
    _do(_libc.posix_spawnattr_init(attributes))
    _do(_libc.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID)))
    _libc.sigemptyset(signals)
    _do(_libc.posix_spawnattr_setsigmask(attributes, signals))
    _libc.sigfillset(signals)
    _do(_libc.posix_spawnattr_setsigdefault(attributes, signals))
    return attributes


def _do(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))
