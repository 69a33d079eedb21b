"""An engine that locks LOCK while it lives: `engine.py PORT LOCK DOUBLES`. A second one goes into DOUBLES."""

import fcntl
import os
import socket
import sys

port, lock, doubles = sys.argv[1:4]
held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
try:
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    with open(doubles, "a", encoding="ascii") as noted:
        noted.write(f"{os.getpid()}\n")
server = socket.create_server(("127.0.0.1", int(port)))
while True:
    client, _ = server.accept()
    with client:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
