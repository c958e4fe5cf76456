# SPDX-License-Identifier: MIT
"""Crowds of hostile clients beside honest ones: crowd, storm, deaf, greedy."""
import contextlib
import subprocess
import time

from stage import (LOAD_CORE, MIB, bench, descriptors, first, median, memory, mib, second, stop,
                   table, wait_until)

RATIO_MAX = 1.2
MEMORY_MAX = 64 * MIB
WELCOME = "welcome to server!" * 57  # so that not reading it is worth a hostile client's while


@contextlib.contextmanager
def sysctl(name, value):
    """Holds within; the network is our own."""
    path = "/proc/sys/net/ipv4/" + name
    with open(path, "r+", encoding="ascii") as file:
        before = file.read()
        file.seek(0)
        file.write(value)
    try:
        yield
    finally:
        with open(path, "w", encoding="ascii") as file:
            file.write(before)


def honest(server, seconds, rate, *options, sources=1, expect):
    """An open loop of honest one-shot exchanges, before the crowd on the core that they share."""
    return bench(server, "--one-shot", "--rate", str(rate), "-c", "16", "-d", "%ss" % seconds,
                 "--sources", str(sources), "--expect", expect, *options,
                 wrap=first("taskset", "-c", LOAD_CORE))


def play_round(stage, server, size, seconds, deadline_s, alone):
    """One row: the honest exchanges without a crowd, then with one of `size`."""
    def measure():
        return honest(server, seconds, 1000, "--framing", "line", expect=WELCOME)
    quiet = measure()
    with stage.crowd(server, "hold", size, deadline_s * 1000, second()) as crowd:
        time.sleep(deadline_s + 1)  # all have come, and the first ones have come again
        before, held = crowd.tell(), descriptors(server)
        loud = measure()
        after, held = crowd.tell(), min(held, descriptors(server))
    row = {"quiet": quiet["latency_ns"], "loud": loud["latency_ns"],
           "failed": quiet["failed"] + loud["failed"], "answered": loud["exchanges"],
           "held": held - alone,
           "anew": (after["came"] - before["came"]) / seconds,
           "unserved": after["failed"] - before["failed"], "memory": memory(server)}
    wait_until(lambda: descriptors(server) <= alone, "the server has forgotten the crowd")
    return row


def crowd(stage):
    """10,000 hostile clients of four kinds: honest p99, memory, no honest failure"""
    size, rounds, seconds, deadline_s = (2000, 2, 1, 2) if stage.quick else (10000, 5, 4, 10)
    rows = []
    # The kernel's buffers are made small, so that what is not read is the server's to bear.
    with sysctl("tcp_wmem", "4096 16384 16384"):
        for io in stage.backends:
            rows += besiege(stage, io, size, rounds, seconds, deadline_s)
    table(["backend, round", "p50 alone", "p99 alone", "p50 µs", "p99 µs", "ratio", "answered",
           "failed", "held", "anew/s", "unserved", "resident MiB"], rows)


def besiege(stage, io, size, rounds, seconds, deadline_s):
    with stage.server(io, "--framing", "line", "--timeout", str(deadline_s), "--welcome", WELCOME,
                      "--backlog", "4096", wrap=first("prlimit", "-n20000"),
                      stdout=subprocess.DEVNULL) as server:
        alone = descriptors(server)
        seen = [play_round(stage, server, size, seconds, deadline_s, alone)
                for _ in range(rounds)]
        peak = memory(server, "VmHWM")
        stage.check(server.stop() == 0, "%s: exit code %d" % (io, server.wait()))
    quiet, loud = (median([row[side]["p99"] for row in seen]) for side in ("quiet", "loud"))
    ratio = loud / quiet
    stage.check(stage.quick or ratio <= RATIO_MAX,
                "%s: the honest p99 is %.2f times that without the crowd" % (io, ratio))
    stage.check(peak <= MEMORY_MAX, "%s: %s MiB of memory" % (io, mib(peak)))
    stage.check(all(row["failed"] == 0 for row in seen), "%s: honest exchanges failed" % io)
    stage.check(all(row["held"] >= size * 0.9 for row in seen),
                "%s: the crowd was not there as a whole" % io)
    rows = [["%s %d" % (io, at + 1), us(row["quiet"]["p50"]), us(row["quiet"]["p99"]),
             us(row["loud"]["p50"]), us(row["loud"]["p99"]),
             "%.2f" % (row["loud"]["p99"] / row["quiet"]["p99"]), row["answered"], row["failed"],
             row["held"], "%.0f" % row["anew"], row["unserved"], mib(row["memory"])]
            for at, row in enumerate(seen)]
    return rows + [[io + " medians", "", us(quiet), "", us(loud), "%.2f" % ratio, "", "", "", "",
                    "", mib(peak) + " peak"]]


def us(ns):
    return "%.0f" % (ns / 1000)


def storm(stage):
    """connect and reset as fast as it goes: honest exchanges, bounded memory, a silent log"""
    seconds = 2 if stage.quick else 8
    rows = []
    for io in stage.backends:
        with stage.server(io, "--json", "--backlog", "4096") as server, \
                stage.crowd(server, "reset", 64) as crowd:
            wait_until(lambda: crowd.tell()["came"] > 20000, "the storm has begun")
            settled, begun = memory(server), crowd.tell()["came"]
            asked = honest(server, seconds, 200, expect="welcome to server!")
            resets, grown = crowd.tell()["came"] - begun, memory(server) - settled
            crowd.end()
            peak = memory(server, "VmHWM")
            code, stats = stop(server)
            lines = len(server.err.lines) - 1
        rows.append([io, "%.0f" % (resets / seconds), asked["exchanges"], asked["failed"],
                     us(asked["latency_ns"]["p99"]), mib(settled), "%+.1f" % (grown / MIB),
                     lines, stats["closed"]["reset"]])
        stage.check(code == 0, "%s: exit code %d" % (io, code))
        stage.check(asked["failed"] == 0 and asked["exchanges"] > 0,
                    "%s: honest exchanges failed: %s" % (io, asked["errors"]))
        # How many of them are under way comes and goes, and their memory with them.
        stage.check(peak <= MEMORY_MAX, "%s: %s MiB of memory" % (io, mib(peak)))
        stage.check(lines <= seconds, "%s: %d lines in the log" % (io, lines))
    table(["backend", "resets/s", "answered", "failed", "p99 µs", "resident MiB", "grown MiB",
           "log lines", "closed: reset"], rows)


def deaf(stage):
    """2,000 that never read, and a small budget for what they make the server hold"""
    seconds = 2 if stage.quick else 5
    rows = []
    with sysctl("tcp_wmem", "4096 16384 16384"):
        for io in stage.backends:
            with stage.server(io, "--json", "--framing", "line", "--welcome", WELCOME, "--backlog",
                              "4096", "--max-buffers", "8M") as server:
                with stage.crowd(server, "deaf", 2000, 1000) as crowd:
                    wait_until(lambda: crowd.tell()["came"] >= 2000, "the crowd is there")
                    asked = honest(server, seconds, 500, "--framing", "line", expect=WELCOME)
                peak = memory(server, "VmHWM")
                code, stats = stop(server)
            rows.append([io, asked["exchanges"], asked["failed"], us(asked["latency_ns"]["p99"]),
                         stats["closed"]["no_memory"], mib(peak)])
            stage.check(code == 0, "%s: exit code %d" % (io, code))
            stage.check(asked["failed"] == 0 and asked["exchanges"] > 0,
                        "%s: honest exchanges failed: %s" % (io, asked["errors"]))
            stage.check(stats["closed"]["no_memory"] > 0, "%s: the budget was not used up" % io)
            stage.check(peak <= 16 * MIB, "%s: %s MiB of memory" % (io, mib(peak)))
    table(["backend", "honest: answered", "failed", "p99 µs", "closed: no memory", "peak MiB"],
          rows)


def greedy(stage):
    """one address that wants everything, under --max-per-address: honest ones from others"""
    limit, seconds = 64, 2 if stage.quick else 5
    rows = []
    for io in stage.backends:
        with stage.server(io, "--json", "--backlog", "4096", "--max-per-address", str(limit),
                          "--timeout", "60") as server:
            alone = descriptors(server)
            with stage.crowd(server, "greedy", 1000):
                wait_until(lambda: descriptors(server) >= alone + limit, "it has its share")
                asked = honest(server, seconds, 500, sources=20, expect="welcome to server!")
                # Those over the limit come and go: the least that is seen is what it keeps.
                held = min(descriptors(server) for _ in range(200)) - alone
            code, stats = stop(server)
        rows.append([io, stats["closed"]["peer_limit"], held, asked["exchanges"],
                     asked["failed"], us(asked["latency_ns"]["p99"])])
        stage.check(code == 0, "%s: exit code %d" % (io, code))
        stage.check(asked["failed"] == 0 and asked["exchanges"] > 0,
                    "%s: honest exchanges failed: %s" % (io, asked["errors"]))
        stage.check(held <= limit, "%s: one address holds %d connections" % (io, held))
        stage.check(stats["closed"]["peer_limit"] > 1000, "%s: nobody was too greedy" % io)
    table(["backend", "greedy: closed", "held", "honest: answered", "failed", "p99 µs"], rows)
