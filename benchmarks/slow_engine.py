"""An engine that loads for a given time and notes when things happened, for the benchmarks.

Arguments: port, seconds of load, `log` or `silent`, and a file that gets a line `ready T` when it can first
answer 200 and `term T` when SIGTERM comes. T is the monotonic clock, the same in every process.
"""

import os
import signal
import socket
import sys
import threading
import time

PORT, LOAD, MODE, NOTES = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
READY_AT = time.monotonic() + LOAD


def note(what: str, when: float) -> None:
    """One line, whole."""
    with open(NOTES, "a", encoding="ascii") as notes:
        notes.write(f"{what} {when!r}\n")


def load() -> None:
    """Take the time it takes, then say so."""
    time.sleep(max(0.0, READY_AT - time.monotonic()))
    note("ready", READY_AT)
    if MODE == "log":
        os.write(1, b"server is ready\n")


def serve(listener: socket.socket) -> None:
    """503 until loaded, then 200."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            status = b"200 OK" if time.monotonic() >= READY_AT else b"503 Loading"
            connection.sendall(b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
bound = socket.create_server(("127.0.0.1", PORT))
threading.Thread(target=load, daemon=True).start()
threading.Thread(target=serve, args=(bound,), daemon=True).start()
signal.sigwait({signal.SIGTERM})
note("term", time.monotonic())
