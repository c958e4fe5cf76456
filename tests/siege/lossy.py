# SPDX-License-Identifier: MIT
"""Networks that lose, delay and reorder packets: lossy."""
import contextlib
import json
import os
import subprocess

from stage import BENCH, CLIENT, LIMIT, LeftOut, table

FIRST, SECOND = "10.77.0.1", "10.77.0.2"
# Some twenty packets, no two of which are alike.
REPLY = "".join("%d:%s," % (at, "abcdefghij"[at % 10:] * 3) for at in range(1200))
LINES = {"5 % lost": (5, 0, 0), "200 ms each way": (0, 200, 0), "25 % reordered": (0, 5, 25)}
GRACE_MS = 100
TIMEOUT_MS = 5000
# The deadline passed: before (ETIMEDOUT) or after (GATE_ELATE) the request was sent. Or the server
# gave the connection up, whose deadlines are the same: nothing came (GATE_ECLOSED), or not all.
DOCUMENTED = {"-110", "-4105", "-4104", "-4103"}


@contextlib.contextmanager
def bad_line(stage, loss, delay, reorder):
    """(how to run a program on the one side, on the other, what the line did, once it is over)"""
    link = subprocess.Popen([stage.tool("link"), str(loss), str(delay), str(reorder), "1"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    did = {}
    try:
        folder = "/proc/%d/" % link.pid
        number = link.stdout.readline().decode().strip()
        if not number:
            raise AssertionError("there is no line")
        near = folder + "fd/" + number
        yield ["nsenter", "--net=" + near], ["nsenter", "--net=" + folder + "ns/net"], did
        did.update(json.loads(link.communicate(timeout=LIMIT)[0]))
    finally:
        link.kill()
        link.wait()
        link.stdin.close()
        link.stdout.close()


def run(argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          timeout=120, check=False)
    return json.loads(done.stdout)


def ask_over(stage, io, name, near, far, seconds):
    """One row but for what the line did: by the library's client, gate-client and gate-bench."""
    with stage.server(io, "--welcome", REPLY, "--backlog", "256", wrap=far,
                      listen=SECOND + ":0") as server, \
            stage.server(io, "--welcome", REPLY, "--backlog", "256", "--framing", "line",
                         wrap=far, listen=SECOND + ":0") as kept:
        sums = []
        for mode, port in (("once", server.port), ("line", kept.port)):
            sums.append(run([*near, stage.tool("callers"), SECOND, str(port), mode, "48",
                             str(seconds * 1000), str(TIMEOUT_MS), REPLY]))
        one = subprocess.run([*near, CLIENT, "--expect", REPLY, "--retry", "3",
                              "%s:%d" % (SECOND, server.port)], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        load = run([*near, BENCH, "-q", "--json", "-c", "32", "-d", "%ds" % seconds, "--expect",
                    REPLY, "%s:%d" % (SECOND, server.port)])
        ended = [server.stop(), kept.stop()]
    answered = [got["answered"] for got in sums]
    failed = [sum(got["codes"].values()) for got in sums]
    slowest = max(got["slowest_ms"] for got in sums)
    what = "%s, %s" % (io, name)
    for got in sums:
        stage.check(got["answered"] > 0 and got["wrong"] == 0, "%s: %d answered, %d wrong"
                    % (what, got["answered"], got["wrong"]))
        stage.check(set(got["codes"]) <= DOCUMENTED, "%s: %s" % (what, got["codes"]))
    stage.check(slowest <= TIMEOUT_MS + GRACE_MS, "%s: one took %d ms" % (what, slowest))
    stage.check(one.returncode in (0, 5), "%s: gate-client ends with %d" % (what, one.returncode))
    stage.check(load["exchanges"] > 0 and load["errors"]["unexpected"] == 0,
                "%s: gate-bench: %s" % (what, load["errors"]))
    stage.check(ended == [0, 0], "%s: exit codes %s" % (what, ended))
    return [what, sum(answered) + load["exchanges"], 0 if not any(g["wrong"] for g in sums)
            and not load["errors"]["unexpected"] else "some", sum(failed) + load["failed"], slowest]


def lossy(stage):
    """5 % loss, 200 ms delay, reordering: the whole right reply, or a documented error in time"""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise LeftOut("it needs root, or the right to open /dev/net/tun")
    print("  the line is two TUN devices and a program between them, which works on kernels\n"
          "  without the netem queueing discipline too\n")
    seconds = 1 if stage.quick else 4
    rows = []
    for io in stage.backends:
        for name, faults in LINES.items():
            with bad_line(stage, *faults) as (near, far, did):
                row = ask_over(stage, io, name, near, far, seconds)
            rows.append(row + [did["carried"], did["lost"], did["overtaken"]])
            stage.check(faults[0] == 0 or did["lost"] > 0, "%s: nothing was lost" % row[0])
            stage.check(faults[2] == 0 or did["overtaken"] > 0, "%s: all in order" % row[0])
    table(["backend, line", "answered", "wrong", "failed as documented", "slowest ms", "packets",
           "lost", "overtaken"], rows)
