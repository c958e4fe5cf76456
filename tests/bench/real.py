# SPDX-License-Identifier: MIT
"""Two real protocols: examples/resp_kv beside redis-server, examples/http_hello beside nginx.

All servers run on one core, the load (redis-benchmark, wrk) on another. In each round every server
of a case is measured once, in an order that moves on from round to round, so that what disturbs the
machine disturbs all of them. CPU is what the kernel has accounted to the server, its threads and
children, per exchange. A ratio is the median over the rounds of the ratio within each round.
"""
import argparse
import contextlib
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

LIMIT = 120
KEYS = 100000
REDIS = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--io-threads", "1"]
NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    default_type text/plain;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        location = / {{ return 200 "hello\\n"; }}
    }}
}}
"""
PIPELINED = """\
init = function(args)
    local requests = {}
    for i = 1, 16 do requests[i] = wrk.format() end
    batch = table.concat(requests)
end
request = function() return batch end
"""


class Failure(Exception):
    pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One server on the first core."""

    def __init__(self, name, port, command, **environment):
        self.name = name
        self.port = port
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if not port else self.log,
            stderr=self.log, env={**os.environ, **environment}, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {CORES[0]}))
        try:
            self.await_port()
        except Failure:
            self.stop()
            raise

    def await_port(self):
        if not self.port:
            found = re.fullmatch(r"listening on port (\d+)\n", self.process.stdout.readline())
            self.port = int(found[1]) if found else 0
        end = time.monotonic() + 10
        while self.port and time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port), timeout=10).close()
                return
            time.sleep(0.01)
        self.process.wait(5) if not self.port else None
        self.log.seek(0)
        raise Failure(f"{self.name} does not listen: {self.log.read().strip()}")

    def cpu_ns(self):
        """What the scheduler has accounted to its threads and to those of its children."""
        return sum(task_cpu_ns(pid) for pid in tree(self.process.pid))

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self.log.close()


def tree(pid):
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
            for child in f.read().split():
                found += tree(int(child))
    return found


def task_cpu_ns(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


# ---- Load ---------------------------------------------------------------------------------------

def load(command):
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         timeout=LIMIT, check=False,
                         preexec_fn=lambda: os.sched_setaffinity(0, {CORES[-1]}))
    if run.returncode:
        raise Failure(f"{' '.join(command)}: {run.stdout}{run.stderr}")
    return run.stdout


def load_redis(server, test, pipeline, count):
    out = load(["redis-benchmark", "-p", str(server.port), "-t", test, "-n", str(count), "-c", "50",
                "-P", str(pipeline), "-r", str(KEYS), "--csv"])
    if len(out.splitlines()) != 2:
        raise Failure(f"redis-benchmark said: {out}")
    return count


def load_http(server, script, seconds, connections=64):
    out = load(["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", *script,
                f"http://127.0.0.1:{server.port}/"])
    found = re.search(r"(\d+) requests in", out)
    if not found or "Non-2xx" in out or "Socket errors" in out:
        raise Failure(f"wrk said: {out}")
    return int(found[1])


# ---- Cases --------------------------------------------------------------------------------------

class Case:
    def __init__(self, title, target, run):
        self.title = title
        self.target = target  # the most that the ratio may be; None: only shown
        self.run = run  # loads a server; how many exchanges it made

    def measure(self, server):
        """CPU ns for each exchange."""
        before = server.cpu_ns()
        count = self.run(server)
        return (server.cpu_ns() - before) / count


def redis_case(name, test, pipeline, target, quick):
    count = (40000 if pipeline == 1 else 400000) // (4 if quick else 1)
    return Case(f"{name}, -P {pipeline}", target,
                lambda server: load_redis(server, test, pipeline, count))


def redis_cases(quick):
    names = (("PING", "ping_mbulk"), ("GET", "get"), ("SET", "set"))
    return [redis_case(name, test, pipeline, target, quick)
            for pipeline, target in ((1, 0.8), (16, 0.7)) for name, test in names]


def http_cases(quick, folder):
    script = os.path.join(folder, "pipelined.lua")
    with open(script, "w", encoding="ascii") as f:
        f.write(PIPELINED)
    seconds = 1 if quick else 2
    return [Case("GET /", 0.6, lambda server: load_http(server, [], seconds)),
            Case("GET /, 1000 connections", None,
                 lambda server: load_http(server, [], seconds, 1000)),
            Case("GET /, 16 pipelined", None,
                 lambda server: load_http(server, ["-s", script], seconds))]


def start_gate(stack, examples, name):
    """The example on each backend that there is; the last one is what `auto` takes."""
    servers = []
    for backend in ("epoll", "io_uring"):
        try:
            server = Server(f"{name} ({backend})", 0, [os.path.join(examples, name), "0"],
                            GATE_IO=backend)
        except Failure as failure:
            print(f"{backend} is not there: {failure}", file=sys.stderr)
            continue
        stack.callback(server.stop)
        servers.append(server)
    if not servers:
        raise Failure(f"{name} does not run")
    return servers


def start_other(stack, name, command, port):
    server = Server(name, port, command)
    stack.callback(server.stop)
    return server


def start_redis(stack, folder):
    port = free_port()
    return start_other(stack, "redis-server",
                       ["redis-server", *REDIS, "--dir", folder, "--port", str(port)], port)


def start_nginx(stack, folder):
    port = free_port()
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w", encoding="ascii") as f:
        f.write(NGINX.format(folder=folder, port=port))
    return start_other(stack, "nginx", ["nginx", "-p", folder, "-c", path], port)


def check_replies(servers, request, expected):
    """Each server is asked once, so that no race is won with a wrong answer."""
    for server in servers:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
            s.sendall(request)
            reply = s.recv(4096)
        if not re.fullmatch(expected, reply, re.DOTALL):
            raise Failure(f"{server.name} answered {reply!r}")


# ---- The race -----------------------------------------------------------------------------------

def race(cases, servers, rounds):
    """{case: {server: [CPU ns of each round]}}"""
    figures = {case: {server: [] for server in servers} for case in cases}
    for number in range(rounds):
        turn = number % len(servers)
        for case in cases:
            for server in servers[turn:] + servers[:turn]:
                figures[case][server].append(case.measure(server))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return figures


def report(figures, servers):
    """Prints the table; how many targets were missed by the best backend. The last is the peer."""
    *gates, peer = servers
    missed = 0
    print(f"\n| CPU µs for each exchange | {peer.name} |"
          + "".join(f" {gate.name} | ratio (least to most) |" for gate in gates) + " target |")
    print("|---|---|" + "---|---|" * len(gates) + "---|")
    for case, values in figures.items():
        row = [case.title, f"{statistics.median(values[peer]) / 1000:.2f}"]
        for gate in gates:
            ratios = [ours / theirs for ours, theirs in zip(values[gate], values[peer])]
            ratio = statistics.median(ratios)
            row.append(f"{statistics.median(values[gate]) / 1000:.2f}")
            row.append(f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        missed += case.target is not None and ratio > case.target
        row.append("" if case.target is None else
                   f"{case.target} {'missed' if ratio > case.target else 'met'}")
        print("| " + " | ".join(row) + " |")
    return missed


def race_redis(options, stack, folder):
    servers = [*start_gate(stack, options.examples, "resp_kv"), start_redis(stack, folder)]
    check_replies(servers, b"*1\r\n$4\r\nPING\r\n", rb"\+PONG\r\n")
    for server in servers:
        load_redis(server, "set", 16, 5 * KEYS)  # so that GET finds its keys
    return report(race(redis_cases(options.quick), servers, options.rounds), servers)


def race_http(options, stack, folder):
    servers = [*start_gate(stack, options.examples, "http_hello"), start_nginx(stack, folder)]
    check_replies(servers, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", rb"HTTP/1.1 200 OK.*\r\nhello\n")
    for server in servers:
        load_http(server, [], 1)
    return report(race(http_cases(options.quick, folder), servers, options.rounds), servers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", required=True, help="the folder of the built examples")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="shorter loads")
    parser.add_argument("--only", choices=("redis", "http"))
    options = parser.parse_args()
    print(f"Linux {platform.release()}, {os.cpu_count()} cores; servers on core {CORES[0]}, load"
          f" on core {CORES[-1]}; {options.rounds} rounds")
    missed = 0
    for name, run in (("redis", race_redis), ("http", race_http)):
        if options.only in (None, name):
            with contextlib.ExitStack() as stack:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                missed += run(options, stack, folder)
    return 1 if missed else 0


CORES = sorted(os.sched_getaffinity(0))

if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as fault:
        sys.exit(f"real: {fault}")
