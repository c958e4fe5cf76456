# SPDX-License-Identifier: MIT
"""gate-bench: that it makes what it is told to make, and counts what happens."""
import fcntl
import json
import os
import pty
import resource
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import unittest

from harness import BENCH, LIMIT, TestCase, read_all, unread, wait_until

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

    def start(self, address, *options, on_interrupt=signal.SIG_DFL):
        """A run that the test ends. A shell's background job has SIGINT ignored, and passes that
        on: on_interrupt says what this one has."""
        process = subprocess.Popen(
            [BENCH, "--json", *options, address], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, on_interrupt))
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        return process

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

    def test_peer_that_sends_without_end_is_a_timeout(self):
        def serve(connection):
            connection.recv(10)
            try:
                while True:
                    connection.sendall(b"x" * 65536)
            except OSError:
                pass

        result = self.bench(self.peer(serve).address, "-c", "1", "-n", "1", "--timeout", "300ms",
                            code=5)
        self.assertEqual(result["errors"]["timeout"], 1)
        self.assertGreater(result["bytes_in"], 65536)
        # In a frame it may reach the limit of an answer before the time-out.
        result = self.bench(self.peer(serve).address, "-c", "1", "-n", "1", "--timeout", "1h",
                            "--framing", "line", code=6)
        self.assertEqual(result["errors"]["frame"], 1)
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, 500 * 1024)

    def test_peer_that_drips_does_not_extend_the_time(self):
        def serve(connection):
            connection.recv(10)
            try:
                while True:
                    connection.sendall(b"x")
                    time.sleep(0.02)
            except OSError:
                pass

        for framing in ("raw", "line"):
            result = self.bench(self.peer(serve).address, "-c", "1", "-n", "1", "--timeout",
                                "200ms", "--framing", framing, code=5)
            self.assertEqual(result["errors"]["timeout"], 1)

    def test_answers_that_come_one_by_one_do_not_extend_the_end(self):
        """Each within the time-out of the one before it, 16 of them."""
        def serve(connection):
            try:
                for _ in range(16):
                    time.sleep(0.1)
                    connection.sendall(b"x\n")
                read_all(connection)
            except OSError:
                pass

        result = self.bench(self.peer(serve).address, "-c", "1", "-d", "10ms", "--timeout",
                            "400ms", "--framing", "line", "--pipeline", "16")
        self.assertGreater(result["errors"]["timeout"], 0)
        self.assertEqual(result["exchanges"] + result["failed"], 16)

    def narrow_server(self, begin):
        """A Unix socket whose queue has room for one, and that takes nothing before begin is set.
        It answers what one read returns; raw: then closes."""
        path = os.path.join(self.folder(), "door")
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(LIMIT)
        listener.bind(path)
        listener.listen(0)

        def answer(connection):
            with connection:
                connection.settimeout(LIMIT)
                got = connection.recv(10)
                connection.sendall(b"x\n")
                if got.endswith(b"\n"):
                    read_all(connection)

        def serve():
            with listener:
                if not begin.wait(LIMIT):
                    return
                for _ in range(8):
                    connection, _address = listener.accept()
                    threads.append(threading.Thread(target=answer, args=(connection,)))
                    threads[-1].start()

        threads = [threading.Thread(target=serve)]
        threads[0].start()
        self.addCleanup(lambda: [thread.join(LIMIT) for thread in threads])
        return "unix:" + path

    def test_full_queue_of_a_unix_socket_is_waited_for(self):
        for framing, connects in (("raw", 8), ("line", 0)):
            begin = threading.Event()
            address = self.narrow_server(begin)
            threading.Timer(0.2, begin.set).start()
            result = self.bench(address, "-c", "8", "-n", "8", "--framing", framing)
            self.assertEqual((result["exchanges"], result["failed"]), (8, 0), framing)
            self.assertEqual(result["connects"], connects)

    def test_queue_that_stays_full_is_a_timeout(self):
        path = os.path.join(self.folder(), "door")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(0)
            result = self.bench("unix:" + path, "-c", "8", "-n", "8", "--timeout", "200ms", code=5)
        self.assertEqual(result["errors"]["timeout"], 8)

    def test_time_of_a_failure_counts(self):
        """The rate is that of the whole run, also where its last exchange fails."""
        def serve(connection):
            connection.recv(10)
            if next(turn) == 0:
                connection.sendall(b"x")
            else:
                read_all(connection)

        turn = iter(range(100))
        result = self.bench(self.peer(serve, connections=2).address, "-c", "1", "-n", "2",
                            "--timeout", "300ms")
        self.assertEqual((result["exchanges"], result["failed"]), (1, 1))
        self.assertGreaterEqual(result["elapsed_ns"], 300000000)

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


class InterruptTest(BenchTest):
    def run_until(self, number, *options):
        """A run that has three answers and waits for a fourth when the signal comes."""
        asked = threading.Event()

        def serve(connection):
            for _ in range(3):
                connection.recv(10)
                connection.sendall(b"x\n")
            connection.recv(10)
            asked.set()
            read_all(connection)

        process = self.start(self.peer(serve).address, "-c", "1", "-d", "1h", "--timeout", "1h",
                             "--framing", "line", *options)
        self.assertTrue(asked.wait(LIMIT))
        process.send_signal(number)
        return process

    def test_result_so_far_is_printed(self):
        for number, name in ((signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")):
            process = self.run_until(number)
            out, err = process.communicate(timeout=LIMIT)
            self.assertEqual((process.returncode, err), (-number, b""))
            result = json.loads(out)
            self.assertEqual((result["exchanges"], result["failed"], result["under_way"]),
                             (3, 0, 1))
            self.assertEqual((result["interrupted"], result["exit"]), (name, 128 + number))
            self.assertGreater(result["elapsed_ns"], result["latency_ns"]["max"])
            self.check_histogram(result)

    def test_table_says_that_it_is_not_the_whole_run(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        process = subprocess.Popen(
            [BENCH, "-c", "1", "-d", "1h", "127.0.0.1:%d" % listener.getsockname()[1]],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.addCleanup(process.kill)
        listener.settimeout(LIMIT)
        with listener.accept()[0] as connection:
            connection.settimeout(LIMIT)
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            out, _err = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertIn(b"interrupted, with 1 exchanges under way", out)

    def test_interrupted_before_all_connections_are_made(self):
        path = os.path.join(self.folder(), "door")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(0)
            process = self.start("unix:" + path, "-c", "8", "--framing", "line", "--timeout", "1h")
            wait_until(lambda: len(os.listdir("/proc/%d/fd" % process.pid)) > 5, "it has begun")
            process.send_signal(signal.SIGINT)
            out, _err = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertEqual(json.loads(out)["exchanges"], 0)

    def test_ignored_signal_is_ignored(self):
        asked = threading.Event()
        proceed = threading.Event()

        def serve(connection):
            connection.recv(10)
            asked.set()
            proceed.wait(LIMIT)
            connection.sendall(b"x")

        process = self.start(self.peer(serve).address, "-c", "1", "-n", "1",
                             on_interrupt=signal.SIG_IGN)
        self.assertTrue(asked.wait(LIMIT))
        process.send_signal(signal.SIGINT)
        proceed.set()
        out, _err = process.communicate(timeout=LIMIT)
        self.assertEqual((process.returncode, json.loads(out)["exchanges"]), (0, 1))


class OpenLoopTest(BenchTest):
    def test_short_run_has_the_rate_too(self):
        server = self.server("--framing", "line", "--backlog", "128")
        for options, exchanges in ((("-d", "400ms"), 2), (("-n", "2"), 2), (("-n", "1"), 1)):
            result = self.bench(server, "-c", "4", "--framing", "line", "--rate", "5", *options)
            self.assertEqual(result["exchanges"], exchanges)
            self.assertGreaterEqual(result["elapsed_ns"], exchanges * 200000000)
            self.assertLessEqual(result["exchanges_per_s"], 5)

    def test_own_lateness_is_told(self):
        """It is stopped for a while, with connections free and exchanges due."""
        asked = threading.Event()

        def serve(connection):
            try:
                while connection.recv(1):
                    asked.set()
                    connection.sendall(b"x\n")
            except OSError:
                pass

        process = self.start(self.peer(serve).address, "-c", "1", "--framing", "line", "--rate",
                             "100", "-n", "200")
        self.assertTrue(asked.wait(LIMIT))
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, 0, err)
        result = json.loads(out)
        self.assertGreater(result["late"], 0)
        self.assertGreater(result["late_max_ns"], 100000000)

    def test_slow_server_does_not_make_it_late(self):
        """No connection is free while the server sleeps: that is not our lateness."""
        def serve(connection):
            for at in range(10):
                while connection.recv(1) != b"\n":
                    pass
                if at == 2:
                    time.sleep(0.5)
                connection.sendall(b"x\n")
            read_all(connection)

        result = self.bench(self.peer(serve).address, "-c", "1", "--framing", "line", "--rate",
                            "20", "-n", "10")
        self.assertGreater(result["latency_ns"]["max"], 400000000)
        self.assertLess(result["late_max_ns"], 300000000)

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
        for text in ("p50>1ns", "p99>0ms", "p99.9>=1ns", "mean>0ns", "max>0us", "min>=1ns",
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
            self.assertEqual(done.returncode, 2, (text, done.stderr))
            self.assertIn(("'%s'" % text).encode(), done.stderr)

    def test_failed_exchanges_count_as_infinitely_long(self):
        def serve(connection):
            connection.recv(10)
            if next(turn):
                connection.sendall(b"x")

        for condition, code in (("p95>1m", 1), ("max>1m", 1), ("p50>1m", 0), ("p90<1m", 1)):
            turn = iter(range(100))
            peer = self.peer(serve, connections=10)
            self.bench(peer.address, "-c", "1", "-n", "10", "--fail-if", condition, code=code)


class OutputTest(BenchTest):
    def test_table_has_the_counts_and_the_percentiles(self):
        server = self.server("--backlog", "128")
        done = self.run_program(BENCH, "-n", "100", "-c", "4", "127.0.0.1:%d" % server.port)
        text = done.stdout.decode()
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertRegex(text, r"^127\.0\.0\.1:%d: 4 one-shot connections at a time, closed loop, "
                         r"100 exchanges\n" % server.port)
        self.assertRegex(text, r"\n100 exchanges in [\d.]+ \S+, [\d.]+/s\n0 failed\n")
        for word in ("min", "mean", "p50", "p99", "p99.99", "max", "share"):
            self.assertRegex(text, r"(?m)^.*\b%s\b" % word)
        rows = [line.split() for line in text.partition("share\n")[2].splitlines()]
        self.assertGreater(len(rows), 3)
        self.assertEqual(sum(int(row[2]) for row in rows), 100)

    def test_first_answer_is_shown(self):
        answers = {b"door": "door", b"\xff\x1b[2J\"\\\r": None, b"y" * 1000: "y" * 256}
        for answer, shown in answers.items():
            for options, end in ((("--framing", "line"), b"\n"), ((), b"")):
                def serve(connection):
                    connection.recv(10)
                    for at in range(len(answer)):
                        connection.sendall(answer[at:at + 1])
                        if at < 4:
                            wait_until(lambda: unread(connection) == 0, "it is there")
                    connection.sendall(end)

                options = ("-c", "1", "-n", "1") + options
                body = answer[:-1] if end and answer.endswith(b"\r") else answer
                result = self.bench(self.peer(serve).address, *options)
                self.assertEqual(result["first_answer_bytes"], len(body))
                self.assertEqual(result["first_answer"], shown)
                done = self.run_program(BENCH, *options, self.peer(serve).address)
                line = done.stdout.splitlines()[2]
                self.assertTrue(line.startswith(b"first answer (%d bytes): " % len(body)), line)
                self.assertTrue(all(0x20 <= byte < 0x7f for byte in line), line)

    def test_first_answer_may_be_one_that_is_not_expected(self):
        server = self.server("--backlog", "128")
        result = self.bench(server, "-c", "2", "-n", "4", "--expect", "something else")
        self.assertEqual(result["first_answer"], "welcome to server!")
        self.assertEqual(result["connected_to"], "127.0.0.1:%d" % server.port)

    def test_what_was_run_is_said(self):
        server = self.server("--framing", "line", "--backlog", "128")
        done = self.run_program(BENCH, "-c", "2", "-d", "200ms", "--rate", "50", "--pipeline", "3",
                                "--warm-up", "50ms", "--framing", "line", "--message", "a\tb",
                                "127.0.0.1:%d" % server.port)
        lines = done.stdout.decode().splitlines()
        self.assertEqual(lines[:2], [
            "127.0.0.1:%d: 2 connections, 3 requests in flight on each, open loop at 50/s, "
            "for 200.0 ms after 50.0 ms of warm-up" % server.port,
            'request (framing line, 3 bytes): "a\\x09b"'])

    def test_progress_is_for_terminals(self):
        server = self.server("--framing", "line", "--backlog", "128")
        argv = [BENCH, "-d", "1500ms", "-c", "1", "--framing", "line", "--rate", "50",
                "127.0.0.1:%d" % server.port]
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        subprocess.run(argv, stderr=slave, stdout=subprocess.DEVNULL, timeout=LIMIT, check=True)
        os.close(slave)
        with os.fdopen(master, "rb", buffering=0) as shown:
            self.assertRegex(shown.read(4096), rb"\r.*1 s  \d+ exchanges/s  p50 .*p99 ")
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
