# SPDX-License-Identifier: MIT
"""The tutorial's server, as it stands there but for Python 3's bytes and the arguments.

tutorial_server.py HOST PORT SECONDS
"""
import socket
import sys


def main(host, port, seconds):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(5)
    print("listening on %s:%d" % sock.getsockname(), file=sys.stderr, flush=True)
    while True:
        connection, _address = sock.accept()
        try:
            connection.settimeout(seconds)
            buf = connection.recv(1024)
            if buf == b"1":
                connection.send(b"welcome to server!")
            else:
                connection.send(b"please go out!")
        except socket.timeout:
            print("time out", flush=True)
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
