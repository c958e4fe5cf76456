# SPDX-License-Identifier: MIT
"""Run by alone.py: gate-server and gate-client without options; prints what was seen as JSON."""
import json
import socket
import subprocess
import time

from harness import CLIENT, LIMIT, SERVER, Process, read_all


def main():
    server = Process([SERVER])
    try:
        seen = {"listening": server.listening[0]}
        shown = subprocess.run(["ss", "-Hltn"], stdout=subprocess.PIPE, check=True).stdout
        seen["backlog"] = shown.decode().split()[2]
        with open("/proc/sys/net/core/somaxconn") as file:
            seen["largest"] = file.read().strip()
        done = subprocess.run([CLIENT], stdout=subprocess.PIPE, timeout=LIMIT, check=True)
        seen["client"] = done.stdout.decode()
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", 9001), LIMIT) as sock:
            seen["silent"] = read_all(sock).decode()
        seen["silent_seconds"] = time.monotonic() - start
        server.out.wait("time out")
        seen["exit"] = server.stop()
        seen["out"] = server.out.all()
        print(json.dumps(seen))
    finally:
        server.kill()


if __name__ == "__main__":
    main()
