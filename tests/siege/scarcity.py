# SPDX-License-Identifier: MIT
"""A machine that does not give: descriptors, denied, log."""
import ctypes
import errno
import json
import os
import socket
import subprocess
import tempfile
import time

from stage import LIMIT, SERVER, LeftOut, cpu_ns, stop, table, wait_until

WELCOME = b"welcome to server!"
CLIENTS = 200
CPU_SHARE_MAX = 0.02


def read_all(sock):
    got = b""
    while piece := sock.recv(4096):
        got += piece
    return got


def ask(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LIMIT)
        sock.connect(path)
        sock.sendall(b"1")
        return read_all(sock)


def descriptors(stage):
    """ulimit -n 64 and 200 clients: each is served in the end, waiting costs nothing"""
    seconds = 1 if stage.quick else 3
    rows = []
    for io in stage.backends:
        with stage.server(io, "--json", "--timeout", "60", "--backlog", "256",
                          wrap=["prlimit", "-n64"]) as server:
            socks = [socket.create_connection(("127.0.0.1", server.port), LIMIT)
                     for _ in range(CLIENTS)]
            server.err.wait("cannot accept")
            before = cpu_ns(server)
            time.sleep(seconds)
            share = (cpu_ns(server) - before) / seconds / 1e9
            for sock in socks:
                sock.sendall(b"1")
            served = sum(read_all(sock) == WELCOME for sock in socks)
            for sock in socks:
                sock.close()
            code, stats = stop(server)
            lines = sum("cannot accept" in line for line in server.err.lines)
        rows.append([io, served, "%.2f" % (share * 100), lines, stats["accept_errors"],
                     stats["accept_pauses"]])
        stage.check(served == CLIENTS, "%s: %d of %d were served" % (io, served, CLIENTS))
        stage.check(share <= CPU_SHARE_MAX, "%s: %.1f %% of a core while all wait"
                    % (io, share * 100))
        stage.check(lines == 1, "%s: %d lines about one episode" % (io, lines))
        stage.check(code == 0, "%s: exit code %d" % (io, code))
    table(["backend", "served of 200", "% CPU waiting", "log lines", "failed accepts",
           "episodes"], rows)


def denied(stage):
    """io_uring refused by the kernel: epoll instead with one line, an error where it is forced"""
    rows = []
    for code in (errno.EPERM, errno.ENOSYS):
        name = errno.errorcode[code]
        deny = [stage.tool("deny"), str(code)]
        with stage.server("auto", "-v", wrap=deny) as server:
            server.err.wait("using epoll")
            with socket.create_connection(("127.0.0.1", server.port), LIMIT) as sock:
                sock.sendall(b"1")
                reply = read_all(sock)
            ended = server.stop()
            lines = [line for line in server.err.all().splitlines() if "using epoll" in line]
        forced = subprocess.run([*deny, SERVER, "-l", "127.0.0.1:0", "--io", "io_uring"],
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LIMIT,
                                check=False)
        said = forced.stderr.decode()
        rows.append([name, reply.decode(), len(lines), forced.returncode,
                     said.partition("\n")[0]])
        stage.check(reply == WELCOME and ended == 0, "%s: not served over epoll" % name)
        stage.check(len(lines) == 1, "%s: %d lines about it" % (name, len(lines)))
        stage.check(forced.returncode == 8 and "--io auto" in said,
                    "%s: forced: exit code %d, %r" % (name, forced.returncode, said))
    table(["io_uring_setup", "auto: reply", "lines", "forced: exit", "says"], rows)


# ---- The log --------------------------------------------------------------------------------

LIBC = ctypes.CDLL(None, use_errno=True)
FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432  # numbers of system calls, on every machine
SET_STRING, CREATE, CLONE_NEWNS = 1, 6, 0x20000


def ask_kernel(*arguments):
    rc = LIBC.syscall(*arguments)
    if rc < 0:
        raise LeftOut("no disk of its own can be made: %s" % os.strerror(ctypes.get_errno()))
    return rc


def small_disk(size):
    """A file on a file system of this size, which is mounted nowhere."""
    try:
        context = ask_kernel(FSOPEN, b"tmpfs", 1)
    except LeftOut:
        LIBC.unshare(CLONE_NEWNS)  # root of a user namespace may in a mount namespace of it
        context = ask_kernel(FSOPEN, b"tmpfs", 1)
    try:
        ask_kernel(FSCONFIG, context, SET_STRING, b"size", size.encode(), 0)
        ask_kernel(FSCONFIG, context, CREATE, None, None, 0)
        mount = ask_kernel(FSMOUNT, context, 1, 0)
    finally:
        os.close(context)
    try:
        return os.open("log", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, dir_fd=mount)
    finally:
        os.close(mount)


class Logged:
    """A gate-server whose log goes where a shell redirects it; asked by a Unix socket, since nobody
    may be there to read the port."""

    def __init__(self, io, redirect, wrap=(), **more):
        self.folder = tempfile.TemporaryDirectory(prefix="gate-siege-")
        self.path = os.path.join(self.folder.name, "door")
        script = 'log=$1; shift; ' + redirect
        self.process = subprocess.Popen(
            [*wrap, "sh", "-c", script, "sh", os.path.join(self.folder.name, "log"), SERVER, "-v",
             "--json", "--io", io, "--timeout", "200ms", "-l", "unix:" + self.path],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **more)
        wait_until(self.answers, "the server answers")

    def answers(self):
        try:
            return ask(self.path) == WELCOME
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        told = json.loads(self.process.communicate(timeout=LIMIT)[0])
        return self.process.returncode, told

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


def play_log(stage, io, name, count, redirect, written, **more):
    """One row: `count` exchanges, each of which wants a line in a log that takes no more;
    written(pid) is the text that got there."""
    server = Logged(io, redirect, **more)
    try:
        begun = time.monotonic()
        good = sum(ask(server.path) == WELCOME for _ in range(count))
        silent = ask_nothing(server.path)
        took = time.monotonic() - begun
        lines = written(server).splitlines(keepends=True)
        code, told = server.stop()
    finally:
        server.kill()
    kept = sum(line.endswith(b"\n") and b"listening on" not in line for line in lines)
    dropped, wanted = told["lines_dropped"], told["stats"]["accepted"] + 1  # one for the time-out
    stage.check(good == count and silent == b"",
                "%s, %s: %d of %d served" % (io, name, good, count))
    stage.check(code == 0, "%s, %s: exit code %d" % (io, name, code))
    stage.check(dropped > 0 and kept + dropped == wanted, "%s, %s: of %d lines %d are there, %d "
                "were counted as dropped" % (io, name, wanted, kept, dropped))
    return [io, name, good, wanted, kept, dropped, "%.1f" % took]


def ask_nothing(path):
    """The server's time-out wants a line of its own."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LIMIT)
        sock.connect(path)
        return read_all(sock)


def log(stage):
    """a log that takes no more: a full disk, /dev/full, a pipe that nobody reads"""
    count = 3000
    rows = []
    for io in stage.backends:
        disk = small_disk("64k")
        try:
            rows.append(play_log(stage, io, "full disk", count, 'exec "$@"',
                                 lambda server, fd=disk: os.pread(fd, 1 << 20, 0), stderr=disk))
        finally:
            os.close(disk)
        rows.append(play_log(stage, io, "/dev/full", count, 'exec "$@" 2>/dev/full',
                             lambda server: b""))
        reader, writer = os.pipe()
        try:
            rows.append(play_log(stage, io, "pipe without a reader", count, 'exec "$@"',
                                 lambda server, fd=reader: os.read(fd, 1 << 20), stderr=writer))
        finally:
            os.close(reader)
            os.close(writer)
    table(["backend", "log", "served", "lines", "written", "dropped", "s"], rows)
