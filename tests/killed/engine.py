"""An engine that locks LOCK while it lives: `engine.py PORT LOCK NOTES`.

A second one locks another file and notes in NOTES that it is beside the first; a third notes that it is one
too many.
"""

import fcntl
import os
import socket
import sys

port, lock, notes = sys.argv[1:4]


def is_locked(path: str) -> bool:
    try:
        fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if not is_locked(lock):
    with open(notes, "a", encoding="ascii") as noted:
        noted.write("beside\n" if is_locked(f"{lock}-beside") else "too many\n")
server = socket.create_server(("127.0.0.1", int(port)))
while True:
    client, _ = server.accept()
    with client:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
