"""What clients of `embedded_daemon.py` notice when its daemons are killed under load: nothing. Run that one.

Four clients ask the daemon for leases and send their requests to its engine. Two keep their leases all the
time, two take a new one for every request. Meanwhile one daemon after the other is ended.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psutil
from attrs import define, frozen

STEADY, HASTY = ("ana", "ben"), ("cleo", "dan")
"""Clients that keep one lease all the time, and clients that take a new one for every request."""

ENDS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)
"""What the daemons get, one after the other."""

TOGETHER, ALONE = 1.0, 0.5
"""Seconds with a daemon, and without one; on a busy machine more, until a few requests have been served."""

PATIENCE = 30.0
"""Seconds after which an answer is not going to come."""

INTRODUCTION = f"""\
A daemon gives out leases on an engine. {" and ".join(STEADY)} keep theirs all the time, {" and ".join(HASTY)}
take a new one for every request. Daemons come and go.
"""


@frozen
class Desk:
    """Where the daemon of the moment takes requests."""

    path: str

    def ask(self, **request: object) -> dict[str, Any]:
        """Its answer. While there is no daemon, and when it dies before it has answered, ask the next one.

        Raises RuntimeError when the answer is an error, TimeoutError when there is none for a long time.
        """
        patient_until = time.monotonic() + PATIENCE
        while time.monotonic() < patient_until:
            with contextlib.suppress(OSError):
                if line := self._answer(json.dumps(request)):
                    return _good(json.loads(line))
            time.sleep(0.01)
        raise TimeoutError(f"nobody answers {request}")

    def _answer(self, request: str) -> str:
        with socket.socket(socket.AF_UNIX) as daemon, daemon.makefile("rw") as lines:
            daemon.connect(self.path)
            lines.write(f"{request}\n")
            lines.flush()
            return lines.readline()


def _good(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer


@define
class Client:
    """Works on leases. Counts those, the requests that were served, and those that failed."""

    name: str
    desk: Desk
    told_to_end: Event
    leases: int = 0
    served: int = 0
    failed: int = 0

    def work(self) -> None:
        """Until it is told to end."""
        while not self.told_to_end.is_set():
            lease = self.desk.ask(do="grant", holder=self.name)
            self.leases += 1
            self.complete(lease["url"])
            while self.name in STEADY and not self.told_to_end.wait(0.002):
                self.complete(lease["url"])
            self.desk.ask(do="release", token=lease["token"])

    def complete(self, url: str) -> None:
        """One request to the engine; the daemon has no part in it."""
        body = json.dumps({"prompt": "one", "n_predict": 4}).encode()
        try:
            with urllib.request.urlopen(f"{url}/completion", body, timeout=PATIENCE) as answer:
                json.load(answer)
            self.served += 1
        except OSError:
            self.failed += 1


class Story:
    """The daemon in a process of its own, its clients in threads, and what there is to tell of them."""

    def __init__(self, daemon: Sequence[str], path: str) -> None:
        self.began = time.monotonic()
        self.argv, self.desk, self.told_to_end = daemon, Desk(path), Event()
        self.clients = [Client(name, self.desk, self.told_to_end) for name in (*STEADY, *HASTY)]
        self.start_daemon()

    def tell(self, topic: str, text: str) -> None:
        """Something that happened, with the time since the beginning in front."""
        print(f"{time.monotonic() - self.began:6.2f} s  {topic:<9}{text}", flush=True)

    def count(self, what: str) -> int:
        """Of all clients together."""
        return sum(getattr(one, what) for one in self.clients)

    def let_them_work(self, least: float) -> None:
        """For so many seconds at the least, and a few requests."""
        wanted, patient_until = self.count("served") + 10, time.monotonic() + PATIENCE
        time.sleep(least)
        while self.count("served") < wanted and time.monotonic() < patient_until:
            time.sleep(0.01)

    def start_daemon(self) -> None:
        """In a session of its own: Ctrl-C is for us."""
        self.daemon = subprocess.Popen(self.argv, start_new_session=True)

    def end_daemon(self, how: signal.Signals) -> None:
        """Return when it is gone."""
        self.daemon.send_signal(how)
        self.daemon.wait()

    def run(self) -> bool:
        """The whole story; whether engine and leases stayed the same, and no request failed."""
        engine = self.desk.ask(do="start")
        self.tell("engine", f"pid {engine['pid']} is ready, at {engine['url']}")
        with ThreadPoolExecutor() as threads:
            try:
                work = [threads.submit(one.work) for one in self.clients]
                found = [self.replace_daemon(how) for how in ENDS]
                self.let_them_work(TOGETHER)
            finally:
                self.told_to_end.set()
                if self.daemon.poll() is not None:
                    self.start_daemon()  # interrupted without one: clients still have to give back leases
        for one in work:
            one.result()  # raises what was raised there
        failed = self.count("failed")
        self.tell(
            "clients",
            f"{self.count('served')} requests served on {self.count('leases')} leases, {failed} failed",
        )
        return (
            {engine["pid"]} == {one["pid"] for one in found} and len(kept_leases(found)) == 1 and not failed
        )

    def replace_daemon(self, how: signal.Signals) -> dict[str, Any]:
        """End the daemon while everybody works, and start the next one after a while; what that one says."""
        self.let_them_work(TOGETHER)
        self.end_daemon(how)
        ended, served, failed = time.monotonic(), self.count("served"), self.count("failed")
        self.tell(
            "daemon", f"pid {self.daemon.pid} got {how.name}; {served} requests served, {failed} failed"
        )
        self.let_them_work(ALONE)
        self.start_daemon()
        found, alone = self.desk.ask(do="status"), time.monotonic() - ended
        more = self.count("served") - served
        self.tell("engine", f"pid {found['pid']} served {more} requests in {alone:.1f} s without a daemon")
        leases = " and ".join(f"{found['leases'].get(name)} ({name})" for name in STEADY)
        self.tell("daemon", f"pid {self.daemon.pid} has taken over, and knows the leases {leases}")
        return found

    def end(self) -> None:
        """End everything. Whatever came before, a new daemon knows the engine."""
        self.end_daemon(signal.SIGKILL)
        self.start_daemon()
        try:
            state = self.desk.ask(do="drain")["state"]
        finally:
            self.end_daemon(signal.SIGTERM)
        self.tell("engine", f"{state} by daemon {self.daemon.pid}, the last one")


def kept_leases(found: list[dict[str, Any]]) -> set[tuple[int | None, ...]]:
    """The tokens of those who kept theirs, as each daemon knew them."""
    return {tuple(one["leases"].get(name) for name in STEADY) for one in found}


def show(daemon: Sequence[str], path: str) -> int:
    """Tell it, in a folder of its own. `daemon` is its command line; it takes requests at `path`.

    Returns the exit code: 0 if it went as it should and no process is left, 130 after Ctrl-C.
    """
    print(INTRODUCTION)
    with tempfile.TemporaryDirectory(prefix="embedded-daemon-") as folder, contextlib.chdir(folder):
        story, status = Story(daemon, path), 1
        try:
            status = 0 if story.run() else 1
        except KeyboardInterrupt:
            print("\nInterrupted.")
            status = 130
        finally:
            story.end()
    left = psutil.Process().children(recursive=True)
    print(f"\nLeft behind: {left or 'no process, no file.'}")
    return status or int(bool(left))
