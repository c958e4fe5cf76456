# SPDX-License-Identifier: MIT
"""alone.py COMMAND...: brings the loopback interface of a new network up, then runs the command."""
import fcntl
import os
import socket
import struct
import sys

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def main(argv):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        row = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(sock, SIOCGIFFLAGS, row))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
