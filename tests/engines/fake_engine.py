#!/usr/bin/env python3
"""A scriptable engine, for what real ones cannot do on demand: hang, flap, flood, fork, refuse to die.

What it does to the operating system is real: sockets, signals, children, output. It uses the standard
library only and starts in a few hundredths of a second. It answers HTTP/1.1, one request a connection:

    GET  /health               503 until `--ready-after`, then as `--health` says
    any  /completion?delay=S   200, S seconds later

What happens is written to standard output, a line each. SIGTERM ends it with exit code 0 unless told
otherwise; in its first milliseconds, as with any program, it kills it.

As a stranger on somebody's port it needs nothing but `--port`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

STARTED = time.monotonic()
FOR_EVER = 1e6

ODD_ANSWERS: dict[str, Callable[[], Iterator[bytes]]] = {
    "hang": lambda: _slowly([b""], every=FOR_EVER),
    "drip-headers": lambda: _slowly([b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 10_000], every=0.05),
    "drip-body": lambda: _slowly(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", *[b"."] * 9999], every=0.05
    ),
    "endless": lambda: _slowly([b"HTTP/1.1 200 OK\r\n\r\n", *[b"." * 65536] * 100_000], every=0.0),
    "garbage": lambda: iter([b"\x00\x01 this is not HTTP\r\n\r\n"]),
    "redirect": lambda: iter([_answer(302, extra="Location: /completion\r\n")]),
    "close": lambda: iter([]),
}
"""Health answers that are no plain status, as the pieces sent."""


def _slowly(pieces: list[bytes], every: float) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        time.sleep(every)


def _answer(status: int, body: str = "{}", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Fake\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{extra}Connection: close\r\n\r\n{body}".encode()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A scriptable engine.", allow_abbrev=False)
    add = parser.add_argument_group("listening and health").add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, required=True)
    add("--no-listen", action="store_true", help="never open the port")
    add("--listen-after", type=float, default=0.0, metavar="S", help="until then connections are refused")
    add("--no-accept", action="store_true", help="open the port, never take a connection")
    add("--ready-after", type=float, default=0.0, metavar="S", help="seconds since the start")
    add("--never-ready", action="store_true", help="503 for ever")
    add(
        "--health",
        default="200",
        metavar="KIND[,KIND...]",
        help="once ready, one kind of answer after the "
        f"other, the last for ever: a status, {', '.join(ODD_ANSWERS)}",
    )
    add = parser.add_argument_group("output").add_argument
    add("--say", action="append", default=[], metavar="TEXT", help="a line at the start; may be given again")
    add("--log-every", type=float, metavar="S", help="a line of progress until it is ready")
    add("--log-when-ready", action="store_true", help="a line at the moment it is ready")
    add("--flood", type=float, default=0.0, metavar="MB", help="that much at the start")
    add("--last-words", metavar="TEXT", help="a line before it ends by itself or crashes")
    add = parser.add_argument_group("ending").add_argument
    add("--exit-after", type=float, metavar="S", help="end by itself, seconds since the start")
    add("--exit-on", metavar="PATH", help="end by itself when this path is asked for")
    add("--exit-code", type=int, default=0, help="of ending by itself")
    add("--crash-on", metavar="PATH", help="die of SIGSEGV when this path is asked for")
    add("--eat-on", metavar="PATH", help="take a gigabyte of memory when this path is asked for")
    add(
        "--fail-first", type=int, default=0, metavar="N", help="the first N launches end at once, exit code 1"
    )
    add("--count-in", metavar="FILE", help="gets a byte for each launch; --fail-first needs it")
    add("--ignore-term", action="store_true", help="SIGTERM does nothing, to its children neither")
    add("--term-after", type=float, default=0.0, metavar="S", help="how long it takes to end at SIGTERM")
    add("--term-code", type=int, default=0, help="the exit code at SIGTERM")
    add = parser.add_argument_group("family").add_argument
    add("--spawn-child", action="store_true", help="a child in the same session")
    add("--spawn-setsid-child", action="store_true", help="a child in a session of its own")
    add("--leak-port", action="store_true", help="its children hold the listening socket too")
    add("--leader-exits", action="store_true", help="fork; the first process ends, its child serves")
    add("--daemonize", action="store_true", help="as --leader-exits, and in a session of its own")
    return parser.parse_args()


def say(text: str) -> None:
    """Write a line at once, in one piece."""
    os.write(sys.stdout.fileno(), f"{text}\n".encode())


def in_background(work: Callable[..., None], *args: object) -> None:
    """Do it beside everything else, for as long as the process lives."""
    threading.Thread(target=work, args=args, daemon=True).start()


class FakeEngine:
    """One run, from the command line to the exit code."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.health = options.health.split(",")

    def run(self) -> None:
        """Start up in the order in which these things can hurt, then wait for the end."""
        self.count_launch()
        self.fork_away()
        if self.options.ignore_term:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        listener = None if self.options.no_listen else self.bind()
        self.spawn_children(listener)
        if not self.options.ignore_term:  # from here on it waits for `wait_for_end`, in every thread
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        for line in self.options.say:
            say(line)
        in_background(self.write_log)
        if listener is not None:
            in_background(self.serve, listener)
        self.wait_for_end()

    # --- time ---

    def left_until(self, since_start: float | None) -> float:
        """Seconds from now until so long after the start; None is never."""
        if since_start is None:
            return FOR_EVER
        return max(0.0, STARTED + since_start - time.monotonic())

    def is_ready(self) -> bool:
        """Whether it answers as `--health` says."""
        return not self.options.never_ready and not self.left_until(self.options.ready_after)

    # --- processes ---

    def count_launch(self) -> None:
        """Leave a trace of this launch, and fail if it is one of the first."""
        if self.options.count_in is None:
            return
        with open(self.options.count_in, "ab") as counter:
            counter.write(b".")
            counter.flush()
            launches = counter.tell()
        if launches <= self.options.fail_first:
            self.leave(1)

    def fork_away(self) -> None:
        """Let the process that was launched end while another one goes on."""
        if not (self.options.leader_exits or self.options.daemonize):
            return
        if os.fork():
            os._exit(self.options.exit_code)
        if self.options.daemonize:
            os.setsid()
        say(f"serving as {os.getpid()}")

    def spawn_children(self, listener: socket.socket | None) -> None:
        """Have the children asked for."""
        if self.options.spawn_child:
            self.spawn(listener, lambda: None)
        if self.options.spawn_setsid_child:
            self.spawn(listener, os.setsid)

    def spawn(self, listener: socket.socket | None, prepare: Callable[[], None]) -> None:
        """Have a child that does nothing until it is killed."""
        child = os.fork()
        if child:
            say(f"child {child}")
            return
        prepare()
        if listener is not None and not self.options.leak_port:
            listener.close()
        while True:
            signal.pause()

    # --- the end ---

    def wait_for_end(self) -> None:
        """Wait for SIGTERM, or for the time to end by itself.

        The signal is waited for, not handled: a handler could run just before the wait, which then lasts.
        """
        if signal.sigtimedwait({signal.SIGTERM}, self.left_until(self.options.exit_after)) is None:
            self.leave(self.options.exit_code)
        say("SIGTERM")
        time.sleep(self.options.term_after)
        os._exit(self.options.term_code)

    def leave(self, code: int) -> None:
        """End by itself."""
        self.say_last_words()
        os._exit(code)

    def crash(self) -> None:
        """Die as a broken program does, without leaving a core file about."""
        self.say_last_words()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.raise_signal(signal.SIGSEGV)

    def eat(self) -> None:
        """Take and use a megabyte after the other, until it is killed or has had a thousand."""
        eaten: list[bytes] = []
        while len(eaten) < 1000:
            eaten.append(b"x" * (2**20 + len(eaten)))

    def say_last_words(self) -> None:
        """What a crash leaves in the log."""
        if self.options.last_words is not None:
            say(self.options.last_words)

    # --- output ---

    def write_log(self) -> None:
        """What is written while it starts, beside everything else."""
        for _ in range(int(self.options.flood * 10)):
            os.write(sys.stdout.fileno(), (b"x" * 99 + b"\n") * 1000)
        if self.options.log_every is not None:
            self.write_progress()
        if self.options.log_when_ready and not self.options.never_ready:
            time.sleep(self.left_until(self.options.ready_after))
            say("ready")

    def write_progress(self) -> None:
        """A line now and then until it is ready."""
        step = 0
        while not self.is_ready():
            step += 1
            say(f"loading, step {step}")
            time.sleep(self.options.log_every)

    # --- serving ---

    def bind(self) -> socket.socket:
        """Take the port, or end as engines do when somebody else has it."""
        family = socket.AF_INET6 if ":" in self.options.host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.options.host, self.options.port))
        except OSError as error:
            say(f"cannot bind port {self.options.port}: {error.strerror}")
            self.leave(1)
        return listener

    def serve(self, listener: socket.socket) -> None:
        """Answer every connection in a thread of its own."""
        time.sleep(self.options.listen_after)
        listener.listen(1024)
        say(f"listening on {self.options.host}:{self.options.port}")
        while not self.options.no_accept:
            connection, _ = listener.accept()
            in_background(self.serve_one, connection)
        time.sleep(FOR_EVER)

    def serve_one(self, connection: socket.socket) -> None:
        """Read a request, send the answer, close."""
        with connection, contextlib.suppress(ConnectionError):
            for piece in self.respond(_path_asked(connection)):
                connection.sendall(piece)

    def respond(self, path: str) -> Iterator[bytes]:
        """The answer in pieces, unless the path is deadly."""
        bare, _, query = path.partition("?")
        if bare == self.options.exit_on:
            self.leave(self.options.exit_code)
        if bare == self.options.crash_on:
            self.crash()
        if bare == self.options.eat_on:
            self.eat()
        if bare == "/health":
            return self.respond_health()
        if bare == "/completion":
            time.sleep(float(query.removeprefix("delay=") or 0))
            return iter([_answer(200, '{"content": "fake"}')])
        return iter([_answer(404)])

    def respond_health(self) -> Iterator[bytes]:
        """The next kind of answer."""
        if not self.is_ready():
            return iter([_answer(503)])
        kind = self.health.pop(0) if len(self.health) > 1 else self.health[0]
        return ODD_ANSWERS[kind]() if kind in ODD_ANSWERS else iter([_answer(int(kind))])


def _path_asked(connection: socket.socket) -> str:
    """The path of a request, after reading all of it: closing earlier could cut the answer off."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    missing = _content_length(head) - len(body)
    while missing > 0:
        missing -= len(connection.recv(missing)) or missing
    return head.split()[1].decode("latin-1")


def _content_length(head: bytes) -> int:
    lines = (line.lower().partition(b":") for line in head.split(b"\r\n"))
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)


if __name__ == "__main__":
    FakeEngine(_options()).run()
