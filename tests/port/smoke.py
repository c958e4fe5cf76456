# SPDX-License-Identifier: MIT
"""A server of another machine, asked by its own client and by this machine's Python."""
import re
import signal
import socket
import subprocess
import threading

LIMIT = 60
WELCOME, REJECT = b"welcome to server!", b"please go out!"


class Server:
    """gate-server until the end of the block, which it has to end well."""

    def __init__(self, runner, folder, *options):
        self.command = [*runner, str(folder / "gate-server"), "-l", "127.0.0.1:0", *options]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.guard = threading.Timer(LIMIT, self.process.kill)
        self.guard.start()
        for line in self.process.stdout:
            found = re.search(rb"listening on \S*:(\d+)", line)
            if found:
                self.port = int(found[1])
                return self
        self.guard.cancel()
        raise SystemExit(f"port: {' '.join(self.command)} did not start")

    def __exit__(self, kind, *rest):
        self.process.send_signal(signal.SIGTERM if kind is None else signal.SIGKILL)
        output = self.process.stdout.read()
        status = self.process.wait()
        self.guard.cancel()
        if kind is None and status != 0:
            raise SystemExit(f"port: gate-server ended with {status}: {output.decode()}")


def expect(got, wanted):
    if got != wanted:
        raise SystemExit(f"port: {got!r} instead of {wanted!r}")


def client(runner, folder, *arguments):
    """What gate-client prints, and its exit code."""
    done = subprocess.run([*runner, str(folder / "gate-client"), *arguments], timeout=LIMIT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    return done.stdout.rstrip(b"\n"), done.returncode


def ask(port, sent):
    """All that a server answers to these bytes and an end."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def try_backend(runner, folder, io):
    """False if this machine, or QEMU, has no such backend."""
    start = subprocess.run([*runner, str(folder / "gate-server"), "-l", "127.0.0.1:0", "--io", io,
                            "--listen", "unix:/nowhere/at-all"], timeout=LIMIT, check=False,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
    if b"/nowhere/at-all" not in start.stdout:
        return False
    with Server(runner, folder, "--io", io) as server:
        where = f"127.0.0.1:{server.port}"
        expect(client(runner, folder, where, "1"), (WELCOME, 0))
        expect(client(runner, folder, where, "2"), (REJECT, 0))
        expect(ask(server.port, b"1"), WELCOME)
    welcome = "w" * 100000
    with Server(runner, folder, "--io", io, "--workers", "2", "--framing", "u32", "--welcome",
                welcome, "--accept", "x" * 5000, "--timeout", "30") as server:
        request = (5000).to_bytes(4, "big") + b"x" * 5000
        reply = len(welcome).to_bytes(4, "big") + welcome.encode()
        expect(ask(server.port, request * 20), reply * 20)
    with Server(runner, folder, "--io", io, "--timeout", "300ms") as server:
        expect(ask_silently(server.port), b"")
    return True


def ask_silently(port):
    with socket.create_connection(("127.0.0.1", port), LIMIT) as sock:
        return sock.recv(100)


def try_bench(runner, folder):
    """gate-bench for a moment, which waits in a way of its own."""
    with Server(runner, folder) as server:
        command = [*runner, str(folder / "gate-bench"), "-c", "2", "--rate", "200", "--duration",
                   "0.5s", "--message", "1", f"127.0.0.1:{server.port}"]
        done = subprocess.run(command, timeout=LIMIT, check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise SystemExit(f"port: gate-bench: {done.stdout.decode()}")


def run(runner, folder):
    """One line for each thing that was tried."""
    if not try_backend(runner, folder, "epoll"):
        raise SystemExit("port: no epoll")
    yield "serves and asks over epoll"
    if try_backend(runner, folder, "io_uring"):
        yield "serves and asks over io_uring"
    else:
        yield "no io_uring to try here"
    try_bench(runner, folder)
    yield "gate-bench measures"
