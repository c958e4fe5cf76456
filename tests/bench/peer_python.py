# SPDX-License-Identifier: MIT
"""The server of the tutorial, word for word in what it does: one thread, one connection at a time,
one recv of 1024 bytes with a timeout of 5 s. For the race it listens on a free port, with the
queue of the others, and prints nothing."""
import socket
import sys

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", 0))
listener.listen(4096)
print("listening on 127.0.0.1:%d" % listener.getsockname()[1], file=sys.stderr, flush=True)

while True:
    connection, address = listener.accept()
    try:
        connection.settimeout(5)
        buf = connection.recv(1024)
        if buf == b"1":
            connection.send(b"welcome to server!")
        else:
            connection.send(b"please go out!")
    except socket.timeout:
        pass
    connection.close()
