# SPDX-License-Identifier: MIT
"""The tutorial's client, as it stands there but for Python 3's bytes and the arguments.

tutorial_client.py HOST PORT SECONDS WORD
"""
import socket
import sys
import time


def main(host, port, seconds, word):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.connect((host, port))
    time.sleep(seconds)
    sock.send(word.encode())
    print(sock.recv(1024).decode())
    sock.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
