# SPDX-License-Identifier: MIT
"""Starts the programs and their peers, and ends what it started. Everything waits for a condition,
for at most LIMIT seconds."""
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

LIMIT = 30
HERE = os.path.dirname(os.path.abspath(__file__))
SERVER = os.environ["GATE_SERVER"]
CLIENT = os.environ["GATE_CLIENT"]
BENCH = os.environ["GATE_BENCH"]
SERVER_OPTIONS = os.environ.get("GATE_SERVER_OPTIONS", "").split()  # of each that a test starts
WELCOME = b"welcome to server!"
REJECT = b"please go out!"


def wait_until(condition, what):
    """Asks again and again until the condition holds."""
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (LIMIT, what))
        time.sleep(0.002)


class Output:
    """The lines of a stream, read as they come."""

    def __init__(self, stream):
        self.lines = []
        self.over = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.read, args=(stream,), daemon=True)
        self.thread.start()

    def read(self, stream):
        for line in stream:
            with self.changed:
                self.lines.append(line.decode())
                self.changed.notify_all()
        if stream:
            stream.close()
        with self.changed:
            self.over = True
            self.changed.notify_all()

    def wait(self, text, times=1):
        """The lines with this text, once there are so many."""
        def found():
            return [line for line in self.lines if text in line]
        with self.changed:
            self.changed.wait_for(lambda: len(found()) >= times or self.over, LIMIT)
            if len(found()) < times:
                raise AssertionError("no %r in %r" % (text, self.lines))
            return found()

    def all(self):
        self.thread.join(LIMIT)
        return "".join(self.lines)


class Process:
    """A program that runs until it is told to stop, or ends by itself."""

    def __init__(self, argv, listeners=1, stdout=subprocess.PIPE, before=None,
                 listening="listening on ", **more):
        def prepare():
            # A shell's background job has SIGINT ignored, and would pass that on.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if before:
                before()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
            preexec_fn=prepare, **more)
        self.out = Output(self.process.stdout or ())
        self.err = Output(self.process.stderr)
        try:
            lines = self.err.wait(listening, listeners)
        except AssertionError:
            self.kill()
            raise
        self.listening = [line.rpartition(" on ")[2].strip() for line in lines]
        last = self.listening[0].rpartition(":")[2]
        self.port = int(last) if last.isdigit() else None

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self):
        """The exit code, negative for a signal."""
        return self.process.wait(LIMIT)

    def stop(self):
        if self.process.poll() is None:
            self.signal()
        return self.wait()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        self.out.all()
        self.err.all()


def talk(sock, data, end=False):
    """Sends data, perhaps ends our side, and gives back all that comes until the peer closes."""
    sock.sendall(data)
    if end:
        sock.shutdown(socket.SHUT_WR)
    return read_all(sock)


def read_all(sock):
    got = b""
    while True:
        piece = sock.recv(65536)
        if not piece:
            return got
        got += piece


def read_exactly(sock, size):
    got = b""
    while len(got) < size:
        piece = sock.recv(size - len(got))
        if not piece:
            raise AssertionError("closed after %r" % got)
        got += piece
    return got


def send_by_bytes(sock, data):
    """Sends each byte once the peer has taken the one before it (Unix sockets only)."""
    for at in range(len(data)):
        sock.sendall(data[at:at + 1])
        wait_until(lambda: unread(sock) == 0, "the peer reads")


def unread(sock):
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0]


class PeerServer:
    """A server of Python for one connection: serve(connection) runs in a thread."""

    def __init__(self, serve, connections=1):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.settimeout(LIMIT)
        self.port = self.sock.getsockname()[1]
        self.address = "127.0.0.1:%d" % self.port
        self.connections = connections
        self.thread = threading.Thread(target=self.run, args=(serve,), daemon=True)
        self.thread.start()

    def run(self, serve):
        for _ in range(self.connections):
            try:
                connection, _address = self.sock.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(LIMIT)
                serve(connection)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)  # ends an accept that waits
        except OSError:
            pass
        self.thread.join(LIMIT)
        self.sock.close()


class TestCase(unittest.TestCase):
    maxDiff = None

    def server(self, *options, listen="127.0.0.1:0", **more):
        """gate-server with these options, on port 0 unless listen is None."""
        argv = [SERVER] + SERVER_OPTIONS + (["-l", listen] if listen else []) + list(options)
        return self.keep(Process(argv, **more))

    def tutorial_server(self, seconds):
        return self.keep(Process([sys.executable, "-B", os.path.join(HERE, "tutorial_server.py"),
                                  "127.0.0.1", "0", str(seconds)]))

    def keep(self, process):
        self.addCleanup(process.kill)
        return process

    def run_program(self, *argv, data=None, **more):
        if "stdin" not in more:
            more["input"] = data if data is not None else b""
        return subprocess.run(argv, timeout=LIMIT,
                              stdout=more.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE,
                              check=False, **more)

    def client(self, *options, **more):
        return self.run_program(CLIENT, *options, **more)

    def fail_server(self, *options, **more):
        """A gate-server that is expected to end by itself."""
        return self.run_program(SERVER, *options, **more)

    def tutorial_client(self, port, seconds, word):
        return self.run_program(sys.executable, "-B", os.path.join(HERE, "tutorial_client.py"),
                                "127.0.0.1", str(port), str(seconds), word)

    def peer(self, serve, **more):
        server = PeerServer(serve, **more)
        self.addCleanup(server.close)
        return server

    def connect(self, where):
        """A connection to a server of ours, a (host, port) or a Unix socket's path."""
        if isinstance(where, Process):
            where = ("127.0.0.1", where.port)
        if isinstance(where, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(LIMIT)
            sock.connect(where)
        else:
            sock = socket.create_connection(where, LIMIT)
        self.addCleanup(sock.close)
        return sock

    def ask(self, where, data, end=False):
        with self.connect(where) as sock:
            return talk(sock, data, end)

    def folder(self):
        path = tempfile.mkdtemp(prefix="gate-")
        self.addCleanup(shutil.rmtree, path)
        return path

    def closed_port(self):
        """A port that nobody listens on, and that nobody else gets while the test runs."""
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]

    def wait_readable(self, sock):
        self.assertTrue(select.select([sock], [], [], LIMIT)[0])

    def wait_refused(self, port):
        """Until the server has stopped listening."""
        def refused():
            try:
                socket.create_connection(("127.0.0.1", port), LIMIT).close()
            except ConnectionError:
                return True
            return False
        wait_until(refused, "the port is closed")


def alone(*argv):
    """The command line that runs argv in a network of its own, with nothing but loopback: fixed
    ports are free there, and no name server answers."""
    flags = "-n" if os.geteuid() == 0 else "-Urn"
    return ["unshare", flags, sys.executable, "-B", os.path.join(HERE, "alone.py")] + list(argv)
