# SPDX-License-Identifier: MIT
"""SIGTERM at any moment: signals."""
import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import threading
import time

from stage import LIMIT, first, table

DRAIN_MS = 300
SILENT_EACH = 5  # rounds: then a client that says nothing makes the drain take its whole time
ECONNREFUSED, ECLOSED = "-111", "-4104"


def end_of(pid_fd):
    """When the process has ended, to the millisecond."""
    poll = select.poll()
    poll.register(pid_fd, select.POLLIN)
    if not poll.poll(LIMIT * 1000):
        raise AssertionError("does not end within %d s" % LIMIT)
    return time.monotonic()


@contextlib.contextmanager
def nudged(stage, server):
    """The thread sanitizer runs a handler only once the thread calls something that it knows, which
    a wait in the ring is not; so there, and only there, connections end the wait."""
    over = threading.Event()

    def nudge():
        while not over.wait(0.02):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", server.port), LIMIT).close()

    thread = threading.Thread(target=nudge)
    if stage.late_handlers:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if stage.late_handlers:
            thread.join(LIMIT)


class Sums:
    def __init__(self):
        self.rounds = self.answered = self.refused = self.told = self.requests = 0
        self.slowest_ms = 0


def stop_under_load(stage, io, mode, delay_s, sums, number):
    """One server, eight clients that ask all the time, and a SIGTERM."""
    framing = "raw" if mode == "once" else "line"
    what = "%s, %s, SIGTERM %d after %.1f ms" % (io, mode, number, delay_s * 1000)
    grace_ms = 1000 if stage.quick else 100
    with stage.server(io, "--json", "--framing", framing, "--backlog", "128", "--drain-timeout",
                      "%dms" % DRAIN_MS, wrap=first()) as server, contextlib.ExitStack() as silent:
        if number % SILENT_EACH == 0:
            silent.enter_context(socket.create_connection(("127.0.0.1", server.port), LIMIT))
        callers = subprocess.Popen(
            [stage.tool("callers"), "127.0.0.1", str(server.port), mode, "8", "20000", "5000",
             "welcome to server!"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        pid_fd = os.pidfd_open(server.process.pid)
        try:
            time.sleep(delay_s)
            begun = time.monotonic()
            with nudged(stage, server):
                server.signal()
                took_ms = (end_of(pid_fd) - begun) * 1000
            asked = json.loads(callers.communicate(timeout=LIMIT)[0])
        finally:
            os.close(pid_fd)
            callers.kill()
            callers.wait()
        code = server.wait()
        stats = json.loads(server.out.all())["stats"]
    told = sum(asked["codes"].values())
    sums.rounds += 1
    sums.answered += asked["answered"]
    sums.requests += stats["requests"]
    sums.refused += asked["codes"].get(ECONNREFUSED, 0)
    sums.told += told - asked["codes"].get(ECONNREFUSED, 0)
    sums.slowest_ms = max(sums.slowest_ms, took_ms)
    stage.check(code == 0, "%s: exit code %d" % (what, code))
    stage.check(took_ms <= DRAIN_MS + grace_ms, "%s: took %.0f ms; the slowest exchange took %d ms"
                % (what, took_ms, asked["slowest_ms"]))
    stage.check(asked["wrong"] == 0, "%s: %d wrong answers" % (what, asked["wrong"]))
    stage.check(stats["requests"] == stats["replies"] == asked["answered"],
                "%s: %d requests were handled, %d answered, %d answers came"
                % (what, stats["requests"], stats["replies"], asked["answered"]))
    stage.check(told == asked["not_sent"] + asked["codes"].get(ECLOSED, 0),
                "%s: clients were told %s" % (what, asked["codes"]))


def signal_storm(stage, io, times):
    """Many signals at once: the second one ends the program, as the manual says."""
    with stage.server(io, "--timeout", "never", "--drain-timeout", "1h") as server:
        pid_fd = os.pidfd_open(server.process.pid)
        try:
            with nudged(stage, server):
                for _ in range(times):
                    server.signal(random.choice((signal.SIGTERM, signal.SIGINT)))
                end_of(pid_fd)
        finally:
            os.close(pid_fd)
        code = server.wait()
    stage.check(code in (0, -signal.SIGTERM, -signal.SIGINT),
                "%s: %d signals end it with %d" % (io, times, code))


def signals(stage):
    """SIGTERM at random moments under load: no answer is lost, exit code 0, in time"""
    rounds, storms = (10, 5) if stage.quick else (100, 50)
    seed = random.randrange(1 << 32)
    random.seed(seed)
    rows = []
    for io in stage.backends:
        for mode in ("once", "line"):
            sums = Sums()
            for number in range(rounds):
                stop_under_load(stage, io, mode, random.random() * 0.05, sums, number)
            rows.append([io, mode, sums.rounds, sums.requests, sums.answered, sums.refused,
                         sums.told, "%.0f" % sums.slowest_ms])
        for _ in range(storms):
            signal_storm(stage, io, 20)
    table(["backend", "clients", "SIGTERMs", "requests handled", "answers got", "refused",
           "closed unanswered", "slowest stop ms"], rows)
    print("  and %d times 20 signals at once on each; delays from seed %d\n" % (storms, seed))
