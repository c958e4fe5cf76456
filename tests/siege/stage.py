# SPDX-License-Identifier: MIT
"""What the cases of the siege share: servers, the hostile programs, what a process uses, tables."""
import contextlib
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))

from harness import BENCH, CLIENT, LIMIT, SERVER, Process, wait_until

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = str(CORES[0]), str(CORES[-1])
# Root may have it, unless in a container that does not let it.
REAL_TIME = subprocess.run(["chrt", "--fifo", "10", "true"], stderr=subprocess.DEVNULL,
                           check=False).returncode == 0
MIB = 1 << 20


class LeftOut(Exception):
    """A case cannot be played here, and why."""


class Stage:
    """One case: where it is played, and what did not hold."""

    def __init__(self, build, quick, backends, late_handlers=False):
        self.build = build
        self.quick = quick
        self.late_handlers = late_handlers  # of signals, see signals.py
        self.backends = backends
        self.problems = []

    def tool(self, name):
        return os.path.join(self.build, "tests/siege", name)

    def check(self, holds, text):
        if not holds:
            self.problems.append(text)

    @contextlib.contextmanager
    def server(self, io, *options, wrap=(), listen="127.0.0.1:0", **more):
        """gate-server on one core; wrap goes before it on the command line."""
        argv = ["taskset", "-c", SERVER_CORE, *wrap, SERVER, "-l", listen, "--io", io]
        server = Process(argv + list(options), **more)
        try:
            yield server
        finally:
            server.kill()

    @contextlib.contextmanager
    def crowd(self, server, mode, count, deadline_ms=0, lead=()):
        crowd = Crowd(lead, self.tool("crowd"), server.port, mode, count, deadline_ms)
        try:
            yield crowd
        finally:
            crowd.end()


def first(*argv):
    """In front of what is measured: before whatever else its core does, if we may."""
    return ["chrt", "--fifo", "10", *argv] if REAL_TIME else list(argv)


def second():
    """In front of what must be there all the time, but goes behind what is measured."""
    return ["chrt", "--fifo", "5"] if REAL_TIME else []


class Crowd:
    def __init__(self, lead, *argv):
        self.process = subprocess.Popen([*lead, "taskset", "-c", LOAD_CORE, *map(str, argv)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self):
        """What it has done so far."""
        self.process.stdin.write(b"?\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait(LIMIT)
        self.process.stdout.close()


def bench(server, *options, wrap=()):
    """What gate-bench measures at this server."""
    argv = [*wrap, BENCH, "-q", "--json", *options, "127.0.0.1:%d" % server.port]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
                          timeout=120)
    if not done.stdout:
        raise AssertionError("gate-bench ends with %d" % done.returncode)
    return json.loads(done.stdout)


# ---- What a process uses --------------------------------------------------------------------

def memory(process, field="VmRSS"):
    """Bytes that it has, or with VmHWM has had at most, in memory."""
    with open("/proc/%d/status" % process.process.pid, encoding="ascii") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no %s" % field)


def cpu_ns(process):
    folder = "/proc/%d/task" % process.process.pid
    total = 0
    for task in os.listdir(folder):
        with open("%s/%s/schedstat" % (folder, task), encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total


def descriptors(process):
    return len(os.listdir("/proc/%d/fd" % process.process.pid))


def stop(server):
    """(exit code, the statistics of --json) of a server that is told to stop."""
    code = server.stop()
    told = server.out.all()
    if not told:
        raise AssertionError("ends with %d and %r" % (code, server.err.all()))
    return code, json.loads(told)["stats"]


# ---- Output ---------------------------------------------------------------------------------

def table(heading, rows):
    rows = [[str(cell) for cell in row] for row in [heading, *rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width)
                               for at, (cell, width) in enumerate(zip(row, widths))).rstrip())
    print(flush=True)


def mib(size):
    return "%.1f" % (size / MIB)


def median(values):
    return statistics.median(values)

