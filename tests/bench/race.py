# SPDX-License-Identifier: MIT
"""The race: libgate beside others that answer the same exchange.

Each server runs alone on one core and gate-bench on another. A round starts every server of a case
once, in an order that moves on from round to round, so that what disturbs the machine disturbs all
of them. CPU is what the kernel has accounted to the server's process, threads and all, while the
exchanges were counted, per exchange. A ratio is the median over the rounds of the ratio within each
round: rounds that were slow as a whole do not count for one side only.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 120
BACKLOG = "4096"


class Case:
    def __init__(self, title, kind, servers, load, exchanges=0):
        self.title = title
        self.kind = kind  # what a peer is told: once or line
        self.servers = servers
        self.load = load
        self.exchanges = exchanges


GATE = ["gate-uring", "gate-epoll"]
PEERS = ["raw-uring", "raw-epoll", "libuv", "libevent"]
LINE = ["--framing", "line", "--expect", "welcome to server!", "--warm-up", "300ms"]
CASES = {
    "once": Case("one-shot, 64 at a time", "once", GATE + PEERS + ["python"],
                 ["--expect", "welcome to server!", "-c", "64", "--warm-up", "300ms"], 40000),
    "defer": Case("one-shot, accepted with the first bytes", "once",
                  ["gate-uring-defer", "gate-epoll-defer", "raw-uring"],
                  ["--expect", "welcome to server!", "-c", "64", "--warm-up", "300ms"], 40000),
    "open": Case("kept open, 64 connections, 1 in flight", "line", GATE + PEERS,
                 LINE + ["-c", "64"], 200000),
    "open-16": Case("kept open, 64 connections, 16 pipelined", "line", GATE + PEERS,
                    LINE + ["-c", "64", "--pipeline", "16"], 2400000),
    "many": Case("kept open, 10,000 connections, 1 in flight", "line", GATE + PEERS,
                 LINE + ["-c", "10000"], 200000),
    "many-16": Case("kept open, 10,000 connections, 16 pipelined", "line", GATE + PEERS,
                    LINE + ["-c", "10000", "--pipeline", "16"], 2400000),
    "idle": Case("15,000 silent connections", "line", GATE + PEERS,
                 ["--framing", "line", "-c", "0", "--idle", "15000", "-d", "500ms"]),
    "workers": Case("one-shot, two workers on two cores", "once",
                    ["gate-epoll-2", "gate-epoll-1"],
                    ["--expect", "welcome to server!", "-c", "64", "--warm-up", "300ms"], 40000),
    "client": Case("gate_client_exchange beside blocking calls", "once",
                   ["client_gate", "client_raw"], [], 20000),
}


class Failure(Exception):
    pass


class Race:
    def __init__(self, options):
        self.build = options.build
        self.scale = options.scale
        self.server_core, self.load_core = options.cores.split(",")

    def program(self, name):
        return os.path.join(self.build, "tests/bench", name)

    def command(self, server, kind):
        """(cores, argv) of a server."""
        cores = self.server_core
        if server.startswith("gate-"):
            parts = server.split("-")
            io = "io_uring" if parts[1] == "uring" else "epoll"
            argv = [os.path.join(self.build, "cli/gate-server"), "-l", "0.0.0.0:0", "--io", io,
                    "--backlog", BACKLOG, "--framing", "line" if kind == "line" else "raw"]
            if parts[2:] == ["defer"]:
                argv.append("--defer-accept")
            elif len(parts) == 3:
                argv += ["--workers", parts[2]]
                cores += "," + self.load_core
            return cores, argv
        if server == "python":
            return cores, [sys.executable, "-B", os.path.join(HERE, "peer_python.py")]
        name = server.replace("-", "_") if server.startswith("raw-") else "peer_" + server
        return cores, [self.program(name), kind]

    def start(self, server, kind):
        cores, argv = self.command(server, kind)
        process = subprocess.Popen(["taskset", "-c", cores] + argv, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = process.stderr.readline()
        if "listening on " not in line:
            process.kill()
            process.wait()
            raise Failure("%s does not start: %s" % (server, line.strip()))
        return process, int(line.rpartition(":")[2])

    def stop(self, process):
        process.kill()
        process.wait()
        process.stderr.close()

    def run(self, argv):
        done = subprocess.run(["taskset", "-c", self.load_core] + argv, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
        if done.returncode != 0:
            raise Failure("%s: %s" % (os.path.basename(argv[0]), done.stderr.strip()))
        return done.stdout

    def run_load(self, case, server):
        process, port = self.start(server, case.kind)
        try:
            before = resident(process.pid)
            argv = [os.path.join(self.build, "cli/gate-bench"), "-q", "--json", "--timeout", "30s",
                    "--server-pid", str(process.pid), "127.0.0.1:%d" % port] + case.load
            if case.exchanges:
                argv += ["-n", str(int(case.exchanges * self.scale))]
            result = json.loads(self.run(argv))
        finally:
            self.stop(process)
        if result["failed"] and server != "python":
            raise Failure("%s: %d exchanges failed: %s"
                          % (server, result["failed"], result["errors"]))
        return measure(result, before, case)

    def run_client(self, case, client):
        process, port = self.start("raw-epoll", "once")
        count = int(case.exchanges * self.scale)
        try:
            cpu_ns = int(self.run([self.program(client), str(port), str(count)]))
        finally:
            self.stop(process)
        return {"cpu_us": cpu_ns / count / 1000}

    def run_case(self, case, rounds):
        """For each server the list of what each round has measured."""
        runner = self.run_client if case.title.startswith("gate_client") else self.run_load
        seen = {server: [] for server in case.servers}
        for at in range(rounds):
            order = case.servers[at % len(case.servers):] + case.servers[:at % len(case.servers)]
            for server in order:
                progress("%s: round %d of %d: %s" % (case.title, at + 1, rounds, server))
                seen[server].append(runner(case, server))
        progress("")
        return seen


def resident(pid):
    with open("/proc/%d/statm" % pid, encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def measure(result, before, case):
    grown = result["server_resident_bytes"] - before
    measured = {"resident": result["server_resident_bytes"]}
    if result["exchanges"]:
        measured.update({
            "rate": result["exchanges_per_s"],
            "cpu_us": result["server_cpu_ns"] / result["exchanges"] / 1000,
            "load_us": result["cpu_ns"] / result["exchanges"] / 1000,
            "p50_us": result["latency_ns"]["p50"] / 1000,
            "p99_us": result["latency_ns"]["p99"] / 1000,
        })
    else:
        if result["idle_open"] != int(case.load[case.load.index("--idle") + 1]):
            raise Failure("only %d connections stayed open" % result["idle_open"])
        measured["per_connection"] = grown / result["idle_open"]
    return measured


def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text)
        sys.stderr.flush()


# ---- The table ------------------------------------------------------------------------------

COLUMNS = [("rate", "exchanges/s", "%.0f", 1), ("cpu_us", "CPU µs", "%.3f", 1),
           ("p50_us", "p50 µs", "%.0f", 1), ("p99_us", "p99 µs", "%.0f", 1),
           ("resident", "resident MiB", "%.1f", 1 << 20),
           ("per_connection", "bytes/connection", "%.0f", 1)]


def median(rounds, key):
    return statistics.median(one[key] for one in rounds)


def ratio(seen, server, other, key):
    """As text; nothing beside itself, or beside one that used nothing."""
    pairs = [(ours[key], theirs[key]) for ours, theirs in zip(seen[server], seen[other])]
    if server == other or any(theirs <= 0 for _, theirs in pairs):
        return ""
    return "%.3f" % statistics.median(ours / theirs for ours, theirs in pairs)


def table(case, seen):
    """The rows of a case, the heading first."""
    first = next(iter(seen.values()))[0]
    columns = [column for column in COLUMNS if column[0] in first]
    key = "cpu_us" if "cpu_us" in first else "per_connection"
    ours = [server for server in case.servers[:2] if server in seen
            and (server.startswith("gate") or server == "client_gate")]
    if any(server.count("-") == 2 for server in ours):
        ours = ours[:1]
    rows = [[case.title] + [title for _, title, _, _ in columns]
            + ["%s ÷" % server for server in ours]]
    for server, rounds in seen.items():
        row = [server] + [form % (median(rounds, name) / unit) for name, _, form, unit in columns]
        row += [ratio(seen, our, server, key) for our in ours]
        rows.append(row)
    return rows


def print_plain(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) if at == 0 else cell.rjust(width)
                        for at, (cell, width) in enumerate(zip(row, widths))))
    print(flush=True)


def print_markdown(rows):
    for at, row in enumerate(rows):
        print("| " + " | ".join(row) + " |")
        if at == 0:
            print("|---|" + "---:|" * (len(row) - 1))
    print(flush=True)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return "%s, %d cores, Linux %s" % (model[0] if model else platform.machine(), os.cpu_count(),
                                       platform.release())


# ---- The command ----------------------------------------------------------------------------

def find_missing(race, servers):
    """{server: why} of those that do not run here: io_uring may be switched off or not built in."""
    missing = {}
    for server in sorted(servers):
        try:
            process, _ = race.start(server, "once")
            race.stop(process)
        except (Failure, OSError) as error:
            missing[server] = str(error)
    return missing


def parse():
    parser = argparse.ArgumentParser(description="libgate beside others, the same exchange.")
    parser.add_argument("cases", nargs="*", metavar="CASE",
                        help="which of %s (default all)" % ", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="only these servers, with commas between")
    parser.add_argument("--scale", type=float, default=1.0,
                        help="multiplies the number of exchanges")
    parser.add_argument("--cores", default="0,1" if os.cpu_count() > 1 else "0,0",
                        help="of the server and of the load")
    parser.add_argument("--build", default=os.path.join(HERE, "../../build/release"))
    parser.add_argument("--json", help="where to write all that was measured")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args()
    for name in options.cases:
        if name not in CASES:
            parser.error("no case %s" % name)
    return options


def main():
    options = parse()
    race = Race(options)
    cases = {name: CASES[name] for name in options.cases or CASES}
    for case in cases.values():
        if options.only:
            case.servers = [name for name in case.servers if name in options.only.split(",")]
    wanted = {name for case in cases.values() for name in case.servers} - set(
        CASES["client"].servers)
    missing = find_missing(race, wanted)
    for server, why in missing.items():
        print("left out: %s" % why, file=sys.stderr)
    print("%s, %s\n" % (machine(), time.strftime("%Y-%m-%d")))
    measured = {}
    for name, case in cases.items():
        case.servers = [server for server in case.servers if server not in missing]
        if not case.servers:
            continue
        measured[name] = race.run_case(case, options.rounds)
        (print_markdown if options.markdown else print_plain)(table(case, measured[name]))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "rounds": options.rounds, "missing": missing,
                       "cases": measured}, file, indent=1)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print("race: %s" % failure, file=sys.stderr)
        sys.exit(1)
