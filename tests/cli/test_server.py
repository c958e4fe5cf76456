# SPDX-License-Identifier: MIT
"""gate-server's end and its options: signals, --once, limits, --json, what it prints."""
import errno
import fcntl
import functools
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import time
import unittest

from harness import (LIMIT, REJECT, SERVER, SERVER_OPTIONS, WELCOME, TestCase, read_all,
                     read_exactly, talk, unread, wait_until)


class SuspendTest(TestCase):
    """The process is stopped for longer than a deadline, as by SIGSTOP or a suspended machine."""

    def test_requests_that_came_in_time_are_answered(self):
        server = self.server("--framing", "line", "--timeout", "1s")
        socks = [self.connect(server) for _ in range(600)]
        for sock in socks[300:]:
            sock.sendall(b"1\n")
            self.assertEqual(read_exactly(sock, 19), WELCOME + b"\n")
        socks = socks[300:] + [self.connect(server) for _ in range(300)]
        server.process.send_signal(signal.SIGSTOP)
        for sock in socks:
            sock.sendall(b"1\n")
        time.sleep(1.5)
        server.process.send_signal(signal.SIGCONT)
        for sock in socks:
            self.assertEqual(read_exactly(sock, 19), WELCOME + b"\n")


class StopTest(TestCase):
    def test_sigterm_and_sigint_end_it_with_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.server()
            self.assertEqual(self.ask(server, b"1"), WELCOME)
            server.signal(number)
            self.assertEqual(server.wait(), 0)

    def test_request_that_is_being_read_is_still_answered(self):
        server = self.server("--framing", "line")
        sock = self.connect(server)
        sock.sendall(b"1\n")
        self.wait_readable(sock)
        self.assertEqual(sock.recv(100), WELCOME + b"\n")
        path = self.half_request(server)
        server.signal()
        self.wait_refused(server.port)
        self.assertEqual(talk(path, b"\n"), WELCOME + b"\n")
        self.assertEqual(server.wait(), 0)

    def half_request(self, server):
        """A connection whose first byte the server has taken: it was accepted, since the server
        answers later connections only after it."""
        sock = self.connect(server)
        sock.sendall(b"1")
        probe = self.connect(server)
        probe.sendall(b"1\n")
        self.assertEqual(probe.recv(100), WELCOME + b"\n")
        return sock

    def test_silent_client_is_cut_off_at_the_drain_timeout(self):
        server = self.server("--timeout", "never", "--drain-timeout", "100ms")
        sock = self.connect(server)
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        server.signal()
        self.assertEqual(server.wait(), 0)
        self.assertIn(self.end_of(sock), (b"", "reset"))

    def end_of(self, sock):
        try:
            return read_all(sock)
        except ConnectionResetError:
            return "reset"

    def test_second_signal_ends_it_at_once(self):
        for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM),
                              (signal.SIGTERM, signal.SIGINT)):
            server = self.server("--framing", "line", "--timeout", "never", "--drain-timeout",
                                 "1h")
            self.half_request(server)
            server.signal(first)
            self.wait_refused(server.port)
            self.assertIsNone(server.process.poll())
            server.signal(second)
            self.assertEqual(server.wait(), -second)

    def test_clients_that_wait_in_the_queue_are_served_after_a_signal(self):
        server = self.server("--backlog", "64")
        os.kill(server.process.pid, signal.SIGSTOP)
        socks = [self.connect(server) for _ in range(16)]
        for sock in socks:
            sock.sendall(b"1")
        server.signal()
        os.kill(server.process.pid, signal.SIGCONT)
        self.assertEqual([read_all(sock) for sock in socks], [WELCOME] * 16)
        self.assertEqual(server.wait(), 0)

    def test_reader_of_stdout_that_has_gone_does_not_end_it(self):
        reader, writer = os.pipe()
        server = self.server("--timeout", "50ms", stdout=writer)
        os.close(writer)
        os.close(reader)
        self.ask(server, b"")
        self.ask(server, b"")
        self.assertEqual(self.ask(server, b"1"), WELCOME)


class SignalTest(TestCase):
    def told(self, server, times=1):
        """The object that the last SIGUSR1 has had written."""
        return json.loads(server.err.wait('{"schema_version"', times)[-1])

    def test_sigusr1_prints_the_counters_and_sighup_does_nothing(self):
        server = self.server("--framing", "line", "--timeout", "30s")
        kept = self.connect(server)
        kept.sendall(b"1\n")
        self.assertEqual(read_exactly(kept, len(WELCOME) + 1), WELCOME + b"\n")
        for times in (1, 2, 3):
            server.signal(signal.SIGHUP)
            server.signal(signal.SIGUSR1)
            found = self.told(server, times)
            self.assertEqual((found["schema_version"], found["program"]), (1, "gate-server"))
            self.assertEqual((found["stats"]["connections"], found["stats"]["requests"],
                              found["stats"]["bytes_in"]), (1, 1, 2))
            self.assertIn("timeout", found["stats"]["closed"])
            self.assertGreater(found["uptime_ns"], 0)
        kept.sendall(b"2\n")
        self.assertEqual(read_all(kept), REJECT + b"\n")
        self.assertEqual(server.stop(), 0)
        self.assertEqual(server.out.all(), "")

    def test_signals_under_load_cost_nobody_an_answer(self):
        server = self.server("--workers", "2")
        for _ in range(300):
            server.signal(signal.SIGUSR1)
            server.signal(signal.SIGHUP)
            self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)
        for line in server.err.all().splitlines()[1:]:
            json.loads(line)

    def test_counters_that_nobody_reads_block_nobody(self):
        path = os.path.join(self.folder(), "door")
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        server = subprocess.Popen([SERVER, *SERVER_OPTIONS, "--json", "-l", "unix:" + path],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=writer)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.kill)
        os.close(writer)
        self.assertIn(b"listening on", os.read(reader, 4096))
        for _ in range(50):
            server.send_signal(signal.SIGUSR1)
            self.assertEqual(self.ask(path, b"1"), WELCOME)
        server.terminate()
        self.assertGreater(json.loads(server.communicate(timeout=LIMIT)[0])["lines_dropped"], 0)

    def test_signals_before_it_serves_do_not_end_it(self):
        server = subprocess.Popen([SERVER, "-l", "127.0.0.1:0"], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  preexec_fn=lambda: signal.pthread_sigmask(
                                      signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGHUP)))
        self.addCleanup(server.stderr.close)
        self.addCleanup(server.kill)
        server.send_signal(signal.SIGHUP)
        self.assertIn(b"listening on", server.stderr.readline())
        server.terminate()
        self.assertEqual(server.wait(LIMIT), 0)


class LimitTest(TestCase):
    def descriptors(self, soft, hard):
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def limit_of(self, server):
        return resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)

    def test_backlog_is_the_kernels_largest(self):
        with open("/proc/sys/net/core/somaxconn") as file:
            largest = int(file.read())
        for options, wanted in (((), largest), (("--backlog", "5"), 5)):
            server = self.server(*options)
            rows = subprocess.run(["ss", "-Hltn", "sport = :%d" % server.port], check=True,
                                  stdout=subprocess.PIPE).stdout.split()
            self.assertEqual(int(rows[2]), wanted)

    def test_soft_limit_of_descriptors_is_raised(self):
        server = self.server(before=self.descriptors(64, 512))
        self.assertEqual(self.limit_of(server), (512, 512))
        socks = [self.connect(server) for _ in range(100)]
        for sock in socks:
            self.assertEqual(talk(sock, b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)
        self.assertNotIn("warning", server.err.all())

    def test_connections_that_the_limit_does_not_allow_are_a_warning(self):
        for more, warned in ((("--max-connections", "510"), True), ((), False),
                             (("--max-connections", "400"), False)):
            server = self.server(*more, before=self.descriptors(64, 512))
            self.assertEqual(self.ask(server, b"1"), WELCOME)
            self.assertEqual(server.stop(), 0)
            self.assertEqual("510 connections (--max-connections)" in server.err.all(), warned)

    def test_accepting_again_is_told(self):
        server = self.server("--framing", "line", "--timeout", "30s", "-v",
                             before=self.descriptors(40, 40))
        socks = [self.connect(server) for _ in range(40)]
        server.err.wait("cannot accept for now")
        for sock in socks:
            sock.close()

        def again():
            self.assertEqual(self.ask(server, b"1\n", end=True), WELCOME + b"\n")
            return any("accepting again" in line for line in server.err.lines)
        wait_until(again, "accepting again")


class OnceTest(TestCase):
    def test_once_welcomes_one_and_exits_0(self):
        server = self.server("--once")
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(server.wait(), 0)

    def test_once_rejects_one_and_exits_1(self):
        server = self.server("--once")
        self.assertEqual(self.ask(server, b"2"), REJECT)
        self.assertEqual(server.wait(), 1)

    def test_once_does_not_count_a_client_without_a_request(self):
        server = self.server("--once")
        self.assertEqual(self.ask(server, b"", end=True), b"")
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(server.wait(), 0)

    def test_once_ends_a_framed_connection_after_its_first_answer(self):
        server = self.server("--once", "--framing", "line")
        self.assertEqual(self.ask(server, b"1\n"), WELCOME + b"\n")
        self.assertEqual(server.wait(), 0)

    def test_once_with_several_workers(self):
        server = self.server("--once", "--workers", "3")
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(server.wait(), 0)


class OptionTest(TestCase):
    def test_other_words_and_answers(self):
        server = self.server("--accept", "a", "--accept", "b", "--welcome", "in", "--reject", "out")
        for word, reply in ((b"a", b"in"), (b"b", b"in"), (b"1", b"out"), (b"ab", b"out")):
            self.assertEqual(self.ask(server, word), reply)

    def test_empty_reject_closes_in_silence(self):
        self.assertEqual(self.ask(self.server("--reject", ""), b"2"), b"")

    def test_workers_all_serve(self):
        server = self.server("--workers", "2")
        for _ in range(50):
            self.assertEqual(self.ask(server, b"1"), WELCOME)

    def test_io_epoll_serves(self):
        self.assertEqual(self.ask(self.server("--io", "epoll"), b"1"), WELCOME)

    def test_io_uring_serves_or_says_that_it_is_not_there(self):
        done = self.fail_server("-l", "192.0.2.1:1", "--io", "io_uring")
        self.assertIn(done.returncode, (4, 8))
        if done.returncode == 8:
            self.assertIn(b"--io auto", done.stderr)

    def test_max_per_address_closes_those_over_it(self):
        server = self.server("--max-per-address", "2")
        first, second = self.connect(server), self.connect(server)
        self.assertEqual(self.ask(server, b""), b"")
        self.assertEqual(talk(first, b"1"), WELCOME)
        self.assertEqual(talk(second, b"1"), WELCOME)

    def test_defer_accept_leaves_a_silent_client_to_the_kernel(self):
        server = self.server("--defer-accept", "--json")
        silent = self.connect(server)
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)
        self.assertEqual(json.loads(server.out.all())["stats"]["accepted"], 1)
        silent.close()

    def test_max_connections_lets_others_wait(self):
        server = self.server("--max-connections", "1")
        first, second = self.connect(server), self.connect(server)
        second.sendall(b"1")
        self.assertEqual(select.select([second], [], [], 0.2)[0], [])
        self.assertEqual(talk(first, b"1"), WELCOME)
        self.assertEqual(read_all(second), WELCOME)

    def test_max_request_cuts_raw_requests(self):
        server = self.server("--max-request", "2K", "--accept", "x" * 2048)
        self.assertEqual(self.ask(server, b"x" * 5000), WELCOME)

    def test_max_output_stops_the_reading_of_a_client_that_takes_no_answers(self):
        path = os.path.join(self.folder(), "door")
        server = self.server("--json", "--framing", "line", "--max-output", "1K", "--welcome",
                             "x" * 1000, "--drain-timeout", "1ms", listen="unix:" + path)
        sock = self.connect(path)
        sock.sendall(b"1\n" * 2000)
        wait_until(lambda: unread(sock) == 0, "the server has read it")
        self.assertEqual(self.ask(path, b"2\n"), REJECT + b"\n")
        self.assertEqual(server.stop(), 0)
        # The kernel holds some 200 answers, and the rest of 1 MiB would be 1000 more.
        self.assertLess(json.loads(server.out.all())["stats"]["requests"], 700)

    def test_max_buffers_closes_who_takes_more(self):
        server = self.server("--framing", "line", "--max-buffers", "80K", "--welcome", "x" * 65536,
                             "--reject", "x" * 60000)
        self.assertEqual(self.ask(server, b"1\n"), b"")
        self.assertEqual(len(self.ask(server, b"2\n")), 60001)

    def test_idle_timeout_is_of_its_own(self):
        server = self.server("--framing", "line", "--timeout", "never", "--idle-timeout", "100ms")
        self.assertEqual(self.ask(server, b"1\n"), WELCOME + b"\n")
        self.assertEqual(server.stop(), 0)
        self.assertEqual(server.out.all(), "")

    def test_write_timeout_ends_a_client_that_never_reads(self):
        server = self.server("--framing", "line", "--timeout", "never", "--write-timeout", "100ms",
                             "--welcome", "x" * 100000)
        sock = self.connect(server)
        sock.setblocking(False)
        try:
            while sock.send(b"1\n" * 4096):
                pass
        except BlockingIOError:
            pass
        sock.setblocking(True)
        server.signal()
        self.assertEqual(server.wait(), 0)

    def test_timeout_is_not_extended_by_bytes(self):
        server = self.server("--framing", "line", "--timeout", "300ms")
        sock = self.connect(server)
        sock.settimeout(0.02)
        for _ in range(1000):
            try:
                sock.sendall(b"x")
                if sock.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            self.fail("still open after 20 s")
        server.out.wait("time out")

    def test_verbose_tells_each_close(self):
        server = self.server("-v")
        self.ask(server, b"1")
        self.assertEqual(server.stop(), 0)
        self.assertIn("127.0.0.1:", server.err.all().split("listening on", 1)[1].split("\n", 1)[1])

    def test_controls_in_the_name_of_a_peer_stay_out_of_the_log(self):
        path = os.path.join(self.folder(), "door")
        server = self.server("-v", listen="unix:" + path)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(b"\0gate-%d \xc2\x9b31m\x9b\xe2\x80\xae\n" % os.getpid())
            sock.connect(path)
            self.assertEqual(talk(sock, b"1"), WELCOME)
        server.err.wait("unix:@gate-%d\\x20\\u009b31m\\x9b\\u202e\\x0a" % os.getpid())

    def test_close_of_a_peer_that_has_reset_names_it(self):
        server = self.server("-v", "--framing", "line")
        for request in (b"", b"half"):
            sock = self.connect(server)
            name = "%s:%d" % sock.getsockname()
            sock.sendall(request)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            self.assertIn("reset", server.err.wait(name)[0])

    def test_quiet_says_nothing(self):
        path = os.path.join(self.folder(), "door")
        server = subprocess.Popen([SERVER, "-q", "-l", "unix:" + path], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(server.kill)
        done = self.client("-q", "--retry", "100", "unix:" + path)
        self.assertEqual((done.stdout, done.stderr), (WELCOME, b""))
        server.terminate()
        self.assertEqual(server.communicate(timeout=LIMIT), (b"", b""))

    def test_quiet_leaves_errors_without_hints(self):
        done = self.fail_server("-q", "-l", "192.0.2.1:1")
        self.assertEqual((done.returncode, done.stderr.count(b"\n")), (4, 1))

    def test_no_descriptor_is_left_behind(self):
        server = self.server("--framing", "line")
        folder = "/proc/%d/fd" % server.process.pid
        before = len(os.listdir(folder))
        for request in (b"1\n", b"2\n", b"unfinished", b"") * 25:
            sock = self.connect(server)
            talk(sock, request, end=True)
            sock.close()
        wait_until(lambda: len(os.listdir(folder)) <= before, "the descriptors are closed")


class LogTest(TestCase):
    def test_log_that_nobody_reads_holds_up_nobody_and_tells_what_is_missing(self):
        path = os.path.join(self.folder(), "door")
        reader, writer = os.pipe()
        log = os.fdopen(reader, "rb", buffering=0)
        self.addCleanup(log.close)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 8192)
        server = self.log_to(writer, path)
        os.close(writer)
        self.assertIn(b"listening on", log.read(4096))
        for _ in range(1000):
            self.assertEqual(self.ask(path, b"1"), WELCOME)
        lines = log.read(8192)
        self.assertEqual(self.ask(path, b"1"), WELCOME)
        server.terminate()
        told = json.loads(server.communicate(timeout=LIMIT)[0])
        lines = (lines + log.readall()).decode().splitlines()
        missing = [int(line.split()[2]) for line in lines if "could not be written" in line]
        self.assertEqual(sum(missing), told["lines_dropped"])
        self.assertGreater(sum(missing), 0)
        self.assertEqual(len(lines) - len(missing) + sum(missing), 1001)
        self.assertEqual(server.returncode, 0)

    def test_terminal_that_nobody_reads_holds_up_nobody(self):
        path = os.path.join(self.folder(), "door")
        reader, writer = os.openpty()
        self.addCleanup(os.close, reader)
        server = self.log_to(writer, path)
        os.close(writer)
        self.assertIn(b"listening on", os.read(reader, 4096))
        self.check_log(server, path, 2000)

    def test_file_that_may_not_grow_is_survived(self):
        path = os.path.join(self.folder(), "door")
        name = os.path.join(self.folder(), "log")
        with open(name, "wb") as log:
            server = self.log_to(log, path, preexec_fn=lambda: resource.setrlimit(
                resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY)))
        wait_until(lambda: os.path.getsize(name) > 0, "it listens")
        self.check_log(server, path, 100)

    def log_to(self, log, path, **more):
        server = subprocess.Popen([SERVER, *SERVER_OPTIONS, "-v", "--json", "-l", "unix:" + path],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                  **more)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        return server

    def check_log(self, server, path, count):
        """There are so many exchanges, and the log does not take all of their lines."""
        for _ in range(count):
            self.assertEqual(self.ask(path, b"1"), WELCOME)
        server.terminate()
        told = json.loads(server.communicate(timeout=LIMIT)[0])
        self.assertIn(told["lines_dropped"], range(1, count))
        self.assertEqual(server.returncode, 0)


STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class EventTest(TestCase):
    """The lines about events."""

    def fault(self, server, request=b"1" * 40):
        sock = self.connect(server)
        name = "%s:%d" % sock.getsockname()
        try:
            talk(sock, request)
        except ConnectionError:
            pass
        return name

    def test_fault_is_a_line_with_what_one_asks_about_it(self):
        server = self.server("--framing", "line", "--max-request", "16")
        sock = self.connect(server)
        sock.sendall(b"1\n")
        read_exactly(sock, len(WELCOME) + 1)
        sock.sendall(b"x" * 40)
        self.assertEqual(read_all(sock), b"")
        name = "%s:%d" % sock.getsockname()
        line = server.err.wait("reason=too_big")[0]
        self.assertRegex(line, r"^%s close peer=%s on=127\.0\.0\.1:%d reason=too_big requests=1 "
                               r"in=42 out=%d ms=\d+$" % (STAMP, name, server.port,
                                                         len(WELCOME) + 1))

    def test_each_fault_is_shown_and_nothing_else(self):
        server = self.server("--max-per-address", "1", "--framing", "line", "--timeout", "200ms",
                             "--max-request", "16")
        first = self.connect(server)
        first.sendall(b"1\n")
        read_exactly(first, len(WELCOME) + 1)
        self.fault(server, b"")
        server.err.wait("reason=peer_limit")
        first.sendall(b"2\n")
        read_all(first)
        wait_until(lambda: self.fault(server) and any(
            "reason=too_big" in line for line in server.err.lines), "too_big")
        wait_until(lambda: self.fault(server, b"half") and any(
            "reason=timeout" in line for line in server.err.lines), "timeout")
        self.assertEqual(server.stop(), 0)
        for line in server.err.all().splitlines()[1:]:
            self.assertRegex(line, "reason=(too_big|timeout|peer_limit)")

    def test_each_kind_is_limited_and_what_was_left_out_is_told(self):
        server = self.server("--framing", "line", "--max-request", "16")
        for _ in range(50):
            self.fault(server)
        self.assertEqual(server.stop(), 0)
        lines = server.err.all().splitlines()[1:]
        shown = [line for line in lines if "requests=" in line]
        told = [int(line.rpartition("=")[2]) for line in lines
                if "reason=too_big left_out=" in line]
        self.assertEqual((len(shown) + sum(told), len(lines)), (50, len(shown) + len(told)))
        self.assertLess(len(shown), 50)

    def test_verbose_has_no_limit_and_quiet_no_lines(self):
        for option, lines in (("-v", 30), ("-q", 0)):
            path = os.path.join(self.folder(), "door")
            server = subprocess.Popen([SERVER, *SERVER_OPTIONS, option, "-l", "unix:" + path,
                                       "--framing", "line", "--max-request", "16"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE)
            self.addCleanup(server.stderr.close)
            self.addCleanup(server.kill)
            wait_until(lambda path=path: os.path.exists(path), "it listens")
            for _ in range(30):
                with socket.socket(socket.AF_UNIX) as sock:
                    wait_until(lambda s=sock, p=path: s.connect_ex(p) in (0, errno.EISCONN), "up")
                    try:
                        talk(sock, b"1" * 40)
                    except OSError:
                        pass
            server.terminate()
            found = server.communicate(timeout=LIMIT)[1].splitlines()
            self.assertEqual(sum(b"reason=too_big" in line for line in found), lines)

    def test_json_lines_hold_the_same(self):
        server = self.server("-v", "--log", "json", "--framing", "line", listening='"listening"')
        self.assertEqual(server.listening[0].count('"on"'), 1)
        port = json.loads(server.err.lines[0])["on"].rpartition(":")[2]
        sock = self.connect(("127.0.0.1", int(port)))
        name = "%s:%d" % sock.getsockname()
        self.assertEqual(talk(sock, b"1\n", end=True), WELCOME + b"\n")
        self.assertEqual(server.stop(), 0)
        found = [json.loads(line) for line in server.err.all().splitlines()]
        self.assertEqual([one["event"] for one in found], ["listening", "close"])
        last = found[-1]
        self.assertRegex(last["time"], "^%s$" % STAMP)
        self.assertEqual([last[key] for key in ("level", "peer", "on", "reason", "requests",
                                                "bytes_in", "bytes_out")],
                         ["debug", name, "127.0.0.1:" + port, "peer", 1, 2, len(WELCOME) + 1])

    def test_journal_gets_priorities_in_place_of_times(self):
        name = os.path.join(self.folder(), "log")
        for mine in (True, False):
            with open(name, "wb") as log:
                own = os.fstat(log.fileno())
                stream = "%d:%d" % (own.st_dev, own.st_ino if mine else own.st_ino + 1)
                server = subprocess.Popen(
                    [SERVER, *SERVER_OPTIONS, "-l", "127.0.0.1:0", "--timeout", "50ms"],
                    env={**os.environ, "JOURNAL_STREAM": stream}, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=log)
            self.addCleanup(server.stdout.close)
            self.addCleanup(server.kill)
            text = functools.partial(self.content, name)
            wait_until(lambda text=text: "\n" in text(), "it listens")
            self.ask(("127.0.0.1", int(text().split("\n")[0].rpartition(":")[2])), b"")
            wait_until(lambda text=text: "timeout" in text(), "the line")
            self.assertRegex(text().splitlines()[1],
                             "^<5>close peer=" if mine else "^%s close peer=" % STAMP)
            server.terminate()
            self.assertEqual(server.wait(LIMIT), 0)

    def content(self, name):
        with open(name) as file:
            return file.read()


class JsonTest(TestCase):
    def one_object(self, text):
        self.assertEqual(text.count("\n"), 1)
        found = json.loads(text)
        self.assertEqual(found["schema_version"], 1)
        self.assertEqual(found["program"], "gate-server")
        return found

    def test_counters_come_at_the_end(self):
        server = self.server("--json", "--timeout", "200ms")
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(self.ask(server, b"22"), REJECT)
        self.assertEqual(self.ask(server, b""), b"")
        server.err.wait("time out")
        self.assertEqual(server.stop(), 0)
        found = self.one_object(server.out.all())
        self.assertEqual(found["listening"], ["127.0.0.1:%d" % server.port])
        self.assertEqual((found["exit"], found["error"], found["hint"]), (0, None, None))
        stats = found["stats"]
        self.assertEqual([stats[key] for key in ("accepted", "requests", "replies", "rejections")],
                         [3, 2, 1, 1])
        self.assertEqual((stats["bytes_in"], stats["bytes_out"]), (3, len(WELCOME + REJECT)))
        closed = {key: count for key, count in stats["closed"].items() if count}
        self.assertEqual(closed, {"answered": 1, "rejected": 1, "timeout": 1})

    def test_failures_are_objects_too(self):
        port = self.server().port
        for options, code, error in (
                (("-l", "127.0.0.1:%d" % port), 4, "address in use"),
                (("-l", "127.0.0.1:70000"), 2, "70000"),
                (("--nonsense",), 2, "--nonsense"),
                (("--timeout", "80x"), 2, "80x"),
                (("operand",), 2, "operand"),
                (("-l", "fd:99"), 4, "fd:99")):
            for argv in (options + ("--json",), ("--json",) + options):
                done = self.fail_server(*argv)
                found = self.one_object(done.stdout.decode())
                self.assertEqual((done.returncode, found["exit"]), (code, code))
                self.assertIn(error, found["error"])
                self.assertEqual(found["listening"], [])

    def test_bytes_of_the_command_line_never_break_the_object(self):
        done = self.fail_server("--json", "-l", b'a"\\\n\xff\xed\xa0\x80:1:2')
        found = json.loads(done.stdout.decode("utf-8"))
        self.assertEqual(found["exit"], 2)

    def test_once_tells_its_exit_code(self):
        server = self.server("--json", "--once")
        self.ask(server, b"2")
        self.assertEqual(server.wait(), 1)
        self.assertEqual(self.one_object(server.out.all())["exit"], 1)


if __name__ == "__main__":
    unittest.main()
