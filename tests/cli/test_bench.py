# SPDX-License-Identifier: MIT
"""gate-bench: that it makes what it is told to make, and counts what happens."""
import fcntl
import json
import os
import pty
import resource
import socket
import struct
import subprocess
import termios
import threading
import time
import unittest

from harness import BENCH, LIMIT, TestCase, read_all, wait_until

ERRORS = {"connect", "timeout", "closed", "frame", "unexpected", "not_begun"}


class BenchTest(TestCase):
    def bench(self, where, *options, code=0):
        """The JSON object of a run that exits with code."""
        where = where if isinstance(where, str) else "127.0.0.1:%d" % where.port
        done = self.run_program(BENCH, "--json", *options, where)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout.count(b"\n"), 1)
        result = json.loads(done.stdout)
        self.assertEqual((result["schema_version"], result["program"], result["exit"]),
                         (1, "gate-bench", code))
        if result["histogram"] is not None:
            self.check_histogram(result)
        return result

    def check_histogram(self, result):
        buckets = result["histogram"]
        self.assertEqual(sum(one["count"] for one in buckets), result["exchanges"])
        self.assertEqual(set(result["errors"]), ERRORS)
        self.assertEqual(sum(result["errors"].values()), result["failed"])
        if not buckets:
            self.assertIsNone(result["latency_ns"])
            return
        latency = result["latency_ns"]
        self.assertEqual(list(latency.values()), sorted(latency[name] for name in (
            "min", "p50", "p75", "p90", "p95", "p99", "p99_9", "p99_99", "max"))[:1]
            + [latency["mean"]] + [latency[name] for name in (
                "p50", "p75", "p90", "p95", "p99", "p99_9", "p99_99", "max")])
        self.assertTrue(latency["min"] <= latency["mean"] <= latency["max"])
        for one, following in zip(buckets, buckets[1:]):
            self.assertTrue(one["from_ns"] <= one["to_ns"] < following["from_ns"])
        self.assertTrue(buckets[0]["from_ns"] <= latency["min"] <= buckets[0]["to_ns"])
        self.assertTrue(buckets[-1]["from_ns"] <= latency["max"] <= buckets[-1]["to_ns"])


class ClosedLoopTest(BenchTest):
    def stats(self, server):
        self.assertEqual(server.stop(), 0)
        return json.loads(server.out.all())["stats"]

    def test_one_shot_makes_exactly_so_many_exchanges(self):
        server = self.server("--json", "--backlog", "128")
        result = self.bench(server, "-c", "8", "-n", "500", "--expect", "welcome to server!")
        self.assertEqual((result["exchanges"], result["failed"], result["loop"]),
                         (500, 0, "closed"))
        self.assertEqual((result["connects"], result["one_shot"]), (500, True))
        stats = self.stats(server)
        self.assertEqual((stats["accepted"], stats["requests"]), (500, 500))

    def test_connections_are_kept_open(self):
        server = self.server("--json", "--framing", "line", "--backlog", "128")
        result = self.bench(server, "-c", "8", "-n", "500", "--framing", "line",
                            "--expect", "welcome to server!")
        self.assertEqual((result["exchanges"], result["failed"], result["connects"]), (500, 0, 0))
        self.assertEqual((result["bytes_out"], result["bytes_in"]), (1000, 9500))
        stats = self.stats(server)
        self.assertEqual((stats["accepted"], stats["requests"]), (8, 500))

    def test_pipeline_keeps_so_many_in_flight(self):
        seen = []

        def serve(connection):
            for _ in range(5):
                got = b""
                while got.count(b"\n") < 4:
                    got += connection.recv(100)
                seen.append(got)
                connection.sendall(b"hello\n" * 4)
            read_all(connection)

        result = self.bench(self.peer(serve).address, "-c", "1", "-n", "20", "--framing", "line",
                            "--pipeline", "4", "--message", "ab")
        self.assertEqual(seen, [b"ab\n" * 4] * 5)
        self.assertEqual((result["exchanges"], result["failed"]), (20, 0))

    def test_large_messages_and_a_long_pipeline_take_little_memory(self):
        message = "x" * 30000
        server = self.server("--framing", "line", "--accept", message)
        result = self.bench(server, "-c", "1", "-n", "200", "--framing", "line", "--pipeline",
                            "65536", "--message", message, "--expect", "welcome to server!")
        self.assertEqual((result["exchanges"], result["failed"]), (200, 0))
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, 500 * 1024)

    def test_answers_that_arrive_in_pieces_are_put_together(self):
        def serve(connection):
            for _ in range(3):
                while connection.recv(1) != b"\n":
                    pass
                for byte in b"hello\n":
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.sendall(bytes([byte]))
            read_all(connection)

        result = self.bench(self.peer(serve).address, "-c", "1", "-n", "3", "--framing", "line",
                            "--expect", "hello")
        self.assertEqual((result["exchanges"], result["failed"]), (3, 0))

    def test_every_framing_is_understood(self):
        for name in ("u8", "u16", "u32", "u16le", "u32le", "varint", "netstring", "delimiter:;",
                     "eof", "line", "raw"):
            server = self.server("--framing", name, "--backlog", "128")
            result = self.bench(server, "-c", "3", "-n", "30", "--framing", name,
                                "--expect", "welcome to server!")
            self.assertEqual((result["exchanges"], result["failed"]), (30, 0), name)

    def test_framed_exchange_can_be_one_shot(self):
        server = self.server("--json", "--framing", "line", "--backlog", "128")
        result = self.bench(server, "-c", "4", "-n", "100", "--framing", "line", "--one-shot")
        self.assertEqual((result["exchanges"], result["connects"]), (100, 100))
        self.assertEqual(self.stats(server)["accepted"], 100)

    def test_connection_that_the_server_ends_is_opened_anew(self):
        server = self.server("--framing", "line", "--backlog", "128")
        result = self.bench(server, "-c", "2", "-n", "50", "--framing", "line", "--message", "2",
                            "--expect", "please go out!")
        # A request may be on its way while the server closes: that one is lost.
        self.assertEqual(result["exchanges"] + result["errors"]["closed"], 50)
        self.assertGreaterEqual(result["exchanges"], 25)
        self.assertGreaterEqual(result["connects"], 24)

    def test_duration_ends_the_run(self):
        start = time.monotonic()
        result = self.bench(self.server("--backlog", "128"), "-c", "2", "-d", "300ms")
        self.assertGreaterEqual(time.monotonic() - start, 0.3)
        self.assertGreater(result["exchanges"], 0)
        self.assertGreaterEqual(result["elapsed_ns"], 300000000)

    def test_warm_up_is_not_counted(self):
        server = self.server("--json", "--framing", "line", "--backlog", "128")
        result = self.bench(server, "-c", "2", "-n", "10", "--framing", "line", "--warm-up",
                            "100ms")
        self.assertEqual(result["exchanges"], 10)
        self.assertGreater(self.stats(server)["requests"], 10)

    def test_unix_sockets_are_served_too(self):
        path = os.path.join(self.folder(), "door")
        self.server("--framing", "line", "--backlog", "128", listen="unix:" + path)
        self.assertEqual(self.bench("unix:" + path, "-c", "3", "-n", "60", "--framing",
                                    "line")["exchanges"], 60)

    def test_source_addresses_are_spread(self):
        seen = set()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(LIMIT)
        self.addCleanup(listener.close)

        def serve():
            for _ in range(12):
                connection, address = listener.accept()
                with connection:
                    seen.add(address[0])
                    connection.recv(10)
                    connection.sendall(b"x")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.bench("127.0.0.1:%d" % listener.getsockname()[1], "-c", "1", "-n", "12",
                   "--sources", "3")
        thread.join(LIMIT)
        self.assertEqual(seen, {"127.0.0.1", "127.0.0.2", "127.0.0.3"})

    def test_idle_connections_stay_silent_and_open(self):
        server = self.server("--json", "--framing", "line", "--backlog", "128")
        result = self.bench(server, "-c", "0", "--idle", "40", "-d", "100ms")
        self.assertEqual((result["idle_open"], result["exchanges"]), (40, 0))
        stats = self.stats(server)
        self.assertEqual((stats["accepted"], stats["requests"]), (40, 0))

    def test_idle_connections_that_the_server_ends_are_told(self):
        server = self.server("--timeout", "50ms", "--backlog", "128")
        result = self.bench(server, "-c", "0", "--idle", "10", "-d", "1s")
        self.assertEqual(result["idle_open"], 0)

    def test_server_is_measured(self):
        server = self.server("--backlog", "128")
        result = self.bench(server, "-c", "4", "-n", "500", "--server-pid",
                            str(server.process.pid))
        self.assertGreater(result["server_cpu_ns"], 500 * 1000)
        self.assertGreater(result["server_resident_bytes"], 100000)
        self.assertGreater(result["cpu_ns"], 500 * 1000)


class FailureTest(BenchTest):
    def test_nobody_listens(self):
        for options in ([], ["--framing", "line"], ["--rate", "100"]):
            result = self.bench("127.0.0.1:%d" % self.closed_port(), "-c", "2", *options, code=4)
            self.assertIn("refused", result["error"])

    def test_silent_server_is_a_timeout(self):
        result = self.bench(self.peer(read_all, connections=4).address, "-c", "2", "-n", "2",
                            "--timeout", "100ms", code=5)
        self.assertEqual(result["errors"]["timeout"], 2)

    def test_server_that_hangs_up_is_no_answer(self):
        peer = self.peer(lambda connection: connection.recv(10), connections=3)
        result = self.bench(peer.address, "-c", "1", "-n", "3", code=6)
        self.assertEqual(result["errors"]["closed"], 3)

    def test_bytes_that_do_not_fit_the_framing(self):
        def serve(connection):
            connection.recv(10)
            connection.sendall(b"not a netstring")
            read_all(connection)

        result = self.bench(self.peer(serve).address, "-c", "1", "-n", "1", "--framing",
                            "netstring", code=6)
        self.assertEqual(result["errors"]["frame"], 1)

    def test_other_answer_is_counted(self):
        server = self.server("--backlog", "128")
        for expect in ("welcome to server", "welcome to server!!", "please go out!"):
            result = self.bench(server, "-c", "2", "-n", "20", "--expect", expect)
            self.assertEqual((result["exchanges"], result["errors"]["unexpected"]), (0, 20))

    def test_some_failures_are_counted_and_the_rest_goes_on(self):
        def serve(connection):
            connection.recv(10)
            if next(turn) % 2:
                connection.sendall(b"x")

        turn = iter(range(100))
        result = self.bench(self.peer(serve, connections=6).address, "-c", "1", "-n", "6")
        self.assertEqual((result["exchanges"], result["errors"]["closed"]), (3, 3))

    def test_too_many_connections_for_this_process(self):
        done = self.run_program(
            BENCH, "-c", "1000", "127.0.0.1:1",
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)))
        self.assertEqual(done.returncode, 8, done.stderr)
        self.assertIn(b"ulimit", done.stderr)


class OpenLoopTest(BenchTest):
    def test_rate_is_kept(self):
        result = self.bench(self.server("--framing", "line", "--backlog", "128"), "-c", "4",
                            "--framing", "line", "--rate", "500", "-d", "1s")
        self.assertEqual((result["exchanges"], result["failed"], result["loop"]), (500, 0, "open"))
        self.assertGreaterEqual(result["elapsed_ns"], 990000000)

    def test_stall_of_the_server_shows_in_every_exchange_that_had_to_wait(self):
        """A server that sleeps once for 500 ms, at 100 exchanges a second over one connection: in a
        closed loop a single exchange would be slow; here those that were due meanwhile are too."""
        def serve(connection):
            for at in range(100):
                while connection.recv(1) != b"\n":
                    pass
                if at == 10:
                    threading.Event().wait(0.5)
                connection.sendall(b"x\n")
            read_all(connection)

        result = self.bench(self.peer(serve).address, "-c", "1", "--framing", "line",
                            "--rate", "100", "-n", "100")
        slow = sum(one["count"] for one in result["histogram"] if one["to_ns"] >= 50000000)
        self.assertEqual(result["exchanges"], 100)
        self.assertGreaterEqual(slow, 40)
        self.assertGreaterEqual(result["latency_ns"]["max"], 490000000)

    def test_what_never_began_is_counted(self):
        result = self.bench(self.peer(read_all).address, "-c", "1", "--framing", "line", "--rate",
                            "100", "-d", "200ms", "--timeout", "400ms", code=5)
        self.assertEqual(result["failed"], 20)
        self.assertGreater(result["errors"]["not_begun"], 0)
        self.assertGreater(result["errors"]["timeout"], 0)

    def test_rate_beyond_reach_is_counted_too(self):
        server = self.server("--framing", "line", "--backlog", "128")
        result = self.bench(server, "-c", "2", "--framing", "line", "--rate", "1000000000", "-d",
                            "1s", "--timeout", "100ms")
        self.assertEqual(result["exchanges"] + result["failed"], 1000000000)
        self.assertLess(result["cpu_ns"], 4000000000)

    def test_one_shot_and_pipelined_loads_have_a_rate_too(self):
        server = self.server("--backlog", "128")
        self.assertEqual(self.bench(server, "--rate", "1000", "-n", "200", "-c", "4")["exchanges"],
                         200)
        server = self.server("--framing", "line", "--backlog", "128")
        self.assertEqual(self.bench(server, "--rate", "5000", "-n", "1000", "-c", "2", "--framing",
                                    "line", "--pipeline", "8")["exchanges"], 1000)


class ConditionTest(BenchTest):
    def test_condition_that_holds_exits_1(self):
        server = self.server("--backlog", "128")
        for text in ("p50>1ns", "p99>0ms", "p99.9>=1ns", "mean>0", "max>0us", "min>=1ns",
                     "rate<1000000000", "errors>=0", "errors<1", "p100<1m"):
            result = self.bench(server, "-c", "2", "-n", "10", "--fail-if", text, code=1)
            self.assertEqual(result["error"], text)

    def test_condition_that_does_not_hold_exits_0(self):
        server = self.server("--backlog", "128")
        self.bench(server, "-c", "2", "-n", "10", "--fail-if", "p99>1m", "--fail-if", "errors>0",
                   "--fail-if", "rate<1", "--fail-if", "mean<1ns")

    def test_failures_can_be_a_condition(self):
        self.bench(self.server("--backlog", "128"), "-c", "1", "-n", "5", "--expect", "x",
                   "--fail-if", "errors>4", code=1)

    def test_time_condition_holds_where_nothing_was_answered(self):
        self.bench(self.server("--backlog", "128"), "-c", "1", "-n", "5", "--expect", "x",
                   "--fail-if", "p99>1m", code=1)

    def test_conditions_are_checked_before_the_run(self):
        for text in ("", "p99", "p>5ms", "p101>5ms", "p99=5ms", "p99>5", "p99>5parsec", "q99>5ms",
                     "errors>1ms", "rate<", "mean>-1ms", "p99>1e3"):
            done = self.run_program(BENCH, "--fail-if", text, "127.0.0.1:1")
            # Without a unit a time is in seconds.
            self.assertEqual(done.returncode, 4 if text == "p99>5" else 2, (text, done.stderr))


class OutputTest(BenchTest):
    def test_table_has_the_counts_and_the_percentiles(self):
        server = self.server("--backlog", "128")
        done = self.run_program(BENCH, "-n", "100", "-c", "4", "127.0.0.1:%d" % server.port)
        text = done.stdout.decode()
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertRegex(text, r"^100 exchanges in [\d.]+ \S+, \d+/s\n0 failed\n")
        for word in ("min", "mean", "p50", "p99", "p99.99", "max", "share"):
            self.assertRegex(text, r"(?m)^.*\b%s\b" % word)
        rows = [line.split() for line in text.partition("share\n")[2].splitlines()]
        self.assertEqual(sum(int(row[2]) for row in rows), 100)

    def test_progress_is_for_terminals(self):
        server = self.server("--framing", "line", "--backlog", "128")
        argv = [BENCH, "-d", "1500ms", "-c", "1", "--framing", "line", "--rate", "50",
                "127.0.0.1:%d" % server.port]
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        subprocess.run(argv, stderr=slave, stdout=subprocess.DEVNULL, timeout=LIMIT, check=True)
        os.close(slave)
        with os.fdopen(master, "rb", buffering=0) as shown:
            self.assertRegex(shown.read(4096), rb"\r.*1 s  \d+ exchanges")
        done = self.run_program(*argv)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_wrong_command_line_is_an_object_of_nulls(self):
        done = self.run_program(BENCH, "--json", "--nonsense")
        result = json.loads(done.stdout)
        self.assertEqual((done.returncode, result["exit"]), (2, 2))
        self.assertIsNone(result["exchanges"])
        self.assertIn("--nonsense", result["error"])

    def test_descriptors_of_failed_connections_are_closed(self):
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        process = subprocess.Popen(
            [BENCH, "-q", "-c", "5", "-d", "30s", "--timeout", "20ms",
             "127.0.0.1:%d" % silent.getsockname()[1]],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        peak = []

        def settled():
            peak.append(len(os.listdir("/proc/%d/fd" % process.pid)))
            return len(peak) > 200
        wait_until(settled, "samples")
        self.assertLessEqual(max(peak), 5 + 16)


if __name__ == "__main__":
    unittest.main()
