# SPDX-License-Identifier: MIT
"""gate-client: what it sends, prints and exits with."""
import json
import os
import pty
import socket
import subprocess
import threading
import time
import unittest

from harness import CLIENT, LIMIT, WELCOME, TestCase, alone, read_all


def reply_with(reply):
    def serve(connection):
        connection.recv(65536)
        connection.sendall(reply)
    return serve


def answer_nothing(connection):
    connection.recv(65536)


def stay_silent(connection):
    read_all(connection)


class MessageTest(TestCase):
    def sent(self, *options, **more):
        """What the peer gets until the client ends its side (--framing eof)."""
        seen = []

        def serve(connection):
            seen.append(read_all(connection))
            connection.sendall(b"ok")

        peer = self.peer(serve)
        done = self.client("--framing", "eof", peer.address, *options, **more)
        self.assertEqual((done.stdout, done.returncode), (b"ok", 0), done.stderr)
        return seen[0]

    def test_message_is_1_by_default(self):
        self.assertEqual(self.sent(), b"1")

    def test_message_is_sent_as_it_is(self):
        self.assertEqual(self.sent("two words\n"), b"two words\n")

    def test_dash_reads_standard_input(self):
        data = bytes(range(256)) * 1000
        self.assertEqual(self.sent("-", data=data), data)

    def test_no_message_reads_standard_input_that_holds_something(self):
        self.assertEqual(self.sent(data=b"from a pipe\n"), b"from a pipe\n")
        with open(os.path.join(self.folder(), "message"), "w+b") as file:
            file.write(b"from a file")
            file.seek(0)
            self.assertEqual(self.sent(stdin=file), b"from a file")

    def test_no_message_and_nothing_to_read_is_1(self):
        self.assertEqual(self.sent(stdin=subprocess.DEVNULL), b"1")
        master, slave = pty.openpty()
        self.assertEqual(self.sent(stdin=slave), b"1")
        os.close(master)
        os.close(slave)

    def test_dash_alone_is_the_message(self):
        done = self.client("-", "--timeout", "1ms", data=b"x" * 100)
        self.assertNotIn(b"-:9001", done.stderr)

    def test_line_end_of_standard_input_is_dropped_where_the_framing_needs_it(self):
        for framing, data, sent in (("line", b"hello\n", b"hello\n"),
                                    ("line", b"hello\r\n", b"hello\n"),
                                    ("line", b"hello", b"hello\n"),
                                    ("line", b"\n", b"\n"),
                                    ("fixed:5", b"hello\n", b"hello"),
                                    ("netstring", b"hello\n", b"6:hello\n,"),
                                    ("raw", b"hello\n", b"hello\n")):
            for operands in (("-",), ()):
                with self.subTest(framing, data=data, operands=operands):
                    seen = []

                    def serve(connection, size=len(sent)):
                        got = b""
                        while len(got) < size:
                            got += connection.recv(size) or b" no more" * size
                        seen.append(got)

                    self.client("--framing", framing, self.peer(serve).address, *operands,
                                data=data)
                    self.assertEqual(seen, [sent])

    def test_more_than_one_line_is_not_a_line(self):
        for data in (b"a\nb\n", b"a\n\n"):
            done = self.client("--framing", "line", self.peer(stay_silent).address, "-", data=data)
            self.assertEqual(done.returncode, 2)

    def test_message_that_looks_like_an_option(self):
        self.assertEqual(self.sent("--", "--json"), b"--json")


class ReplyTest(TestCase):
    def reply(self, reply, *options):
        return self.client(*options, self.peer(reply_with(reply)).address)

    def test_reply_is_printed_byte_for_byte(self):
        for reply in (b"a", b"a\n", bytes(range(256)), b"x" * 500000):
            done = self.reply(reply)
            self.assertEqual((done.stdout, done.returncode, done.stderr), (reply, 0, b""))

    def test_newline_is_added_on_a_terminal_only_where_there_is_none(self):
        for reply in (b"a", b"a\n"):
            master, slave = pty.openpty()
            self.client(self.peer(reply_with(reply)).address, stdout=slave)
            self.assertEqual(os.read(master, 100), b"a\r\n")
            os.close(master)
            os.close(slave)

    def test_hex(self):
        self.assertEqual(self.reply(b"\0\xffa", "--hex").stdout, b"00ff61\n")

    def test_timing_goes_to_stderr(self):
        done = self.reply(b"a", "--timing")
        self.assertEqual(done.stdout, b"a")
        times = dict(line.split()[:2] for line in done.stderr.decode().splitlines())
        self.assertEqual(list(times), ["connect", "exchange", "total"])
        self.assertEqual(int(times["connect"]) + int(times["exchange"]), int(times["total"]))

    def test_expected_reply_exits_0(self):
        self.assertEqual(self.reply(b"a", "--expect", "a").returncode, 0)

    def test_other_reply_exits_1_and_is_shown(self):
        for reply in (b"b", b"a\n", b"aa"):
            done = self.reply(reply, "--expect", "a")
            self.assertEqual((done.returncode, done.stdout), (1, reply))
            self.assertIn(b"the reply is not 'a'", done.stderr)

    def test_controls_of_a_reply_stay_out_of_messages(self):
        for reply, shown in ((b"\x1b[31m", b"\\x1b[31m"), (b"\xc2\x9b31m", b"\\u009b31m"),
                             (b"\x9b31m", b"\\x9b31m"), (b"\xe2\x80\xae1", b"\\u202e1"),
                             (b"\xe2\x80", b"\\xe2\\x80"), ("\u20ac".encode(),) * 2):
            done = self.reply(reply, "--expect", "a")
            self.assertIn(b"'%s'" % shown, done.stderr)

    def test_controls_of_a_reply_stay_out_of_the_object(self):
        done = self.reply("\x1b\u009b\u202e\x7f\u20ac".encode(), "--json")
        self.assertIn("\"\\u001b\\u009b\\u202e\\u007f\u20ac\"", done.stdout.decode())


class FailureTest(TestCase):
    def closed(self, which, *options):
        return self.run_program("sh", "-c", f'exec "$@" {which}', "sh", CLIENT, *options)

    def test_closed_standard_output_is_an_error_before_anything_is_sent(self):
        seen = []
        peer = self.peer(lambda connection: seen.append(connection))
        done = self.closed(">&-", peer.address)
        self.assertEqual((done.returncode, seen), (8, []))
        self.assertIn(b"standard output is closed", done.stderr)

    def test_closed_standard_input_is_an_error_where_it_is_read(self):
        done = self.closed("<&-", "127.0.0.1:%d" % self.closed_port(), "-")
        self.assertEqual(done.returncode, 8)
        self.assertIn(b"standard input is closed", done.stderr)
        done = self.closed("<&-", self.peer(reply_with(b"ok")).address)
        self.assertEqual((done.returncode, done.stdout), (0, b"ok"))

    def test_port_that_was_left_out_is_shown(self):
        for host, shown in (("127.0.0.9", b"127.0.0.9:9001"), ("[::1]", b"[::1]:9001")):
            done = self.run_program(*alone(CLIENT, host))
            self.assertEqual(done.returncode, 4)
            self.assertIn(b"cannot connect to %s: " % shown, done.stderr)

    def test_port_as_an_operand_gets_a_hint(self):
        for operands, shown in ((("127.0.0.9", "8080"), b"write 127.0.0.9:8080"),
                                (("[::1]", "8080"), b"write [::1]:8080"),
                                (("127.0.0.9", "8080", "hello"), b"write 127.0.0.9:8080")):
            done = self.run_program(*alone(CLIENT, *operands))
            self.assertIn(shown, done.stderr)
        for operands in (("127.0.0.9", "1"), ("127.0.0.9:1", "8080"), ("127.0.0.9", "hello")):
            done = self.run_program(*alone(CLIENT, *operands))
            self.assertNotIn(b"for that port", done.stderr)

    def test_link_local_address_without_its_interface_gets_a_hint(self):
        done = self.run_program(*alone(CLIENT, "[fe80::1]:9"))
        self.assertIn(b"[fe80::1%eth0]:9", done.stderr)

    def test_nobody_listens(self):
        port = self.closed_port()
        done = self.client("127.0.0.1:%d" % port)
        self.assertEqual((done.returncode, done.stdout), (4, b""))
        self.assertIn("cannot connect to 127.0.0.1:%d: Connection refused\nhint: " % port,
                      done.stderr.decode())

    def test_missing_unix_socket(self):
        done = self.client("unix:" + os.path.join(self.folder(), "door"))
        self.assertEqual(done.returncode, 4)

    def test_unknown_host(self):
        done = self.run_program(*alone(CLIENT, "name.invalid:1"))
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"cannot connect to name.invalid:1: ", done.stderr)

    def test_server_that_stays_silent(self):
        done = self.client("--timeout", "100ms", self.peer(stay_silent).address)
        self.assertEqual((done.returncode, done.stdout), (5, b""))
        self.assertIn(b"may have been executed", done.stderr)

    def test_server_that_never_accepts(self):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            done = self.client("--timeout", "100ms", "127.0.0.1:%d" % sock.getsockname()[1])
        self.assertEqual(done.returncode, 5)

    def test_server_that_closes_without_a_reply(self):
        done = self.client(self.peer(answer_nothing).address)
        self.assertEqual((done.returncode, done.stdout), (6, b""))
        self.assertIn(b"probably timed out", done.stderr)

    def test_reply_over_the_room_is_cut_and_said(self):
        done = self.client("--max-reply", "4", self.peer(reply_with(b"123456")).address)
        self.assertEqual((done.returncode, done.stdout), (6, b"1234"))
        self.assertIn(b"--max-reply", done.stderr)

    def test_reply_as_large_as_the_room_is_whole(self):
        done = self.client("--max-reply", "6", self.peer(reply_with(b"123456")).address)
        self.assertEqual((done.returncode, done.stdout), (0, b"123456"))

    def test_reply_that_is_not_over_in_time_is_kept(self):
        def serve(connection):
            connection.recv(100)
            connection.sendall(b"first part")
            read_all(connection)

        done = self.client("--timeout", "300ms", self.peer(serve).address)
        self.assertEqual((done.returncode, done.stdout), (5, b"first part"))

    def test_stdout_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            done = self.client(self.peer(reply_with(b"a")).address, stdout=full)
        self.assertEqual(done.returncode, 8)
        self.assertIn(b"standard output", done.stderr)

    def test_retry_gives_up_after_its_number(self):
        done = self.client("--retry", "2", "127.0.0.1:%d" % self.closed_port(), "--json")
        found = json.loads(done.stdout)
        self.assertEqual((found["attempts"], found["outcome"], done.returncode), (3, "not_sent", 4))

    def test_retry_reaches_a_server_that_comes_late(self):
        path = os.path.join(self.folder(), "door")
        late = []

        def start():
            late.append(self.server(listen="unix:" + path))

        thread = threading.Timer(0.2, start)
        thread.start()
        done = self.client("--retry", "100", "unix:" + path)
        thread.join()
        self.assertEqual((done.stdout, done.returncode), (WELCOME, 0))

    def test_retry_never_sends_twice(self):
        seen = []

        def serve(connection):
            seen.append(connection.recv(100))

        peer = self.peer(serve, connections=3)
        done = self.client("--retry", "2", peer.address)
        self.assertEqual((done.returncode, seen), (6, [b"1"]))

    def test_delay_lies_between_connect_and_request(self):
        seen = []

        def serve(connection):
            connection.settimeout(0.1)
            try:
                seen.append(connection.recv(100))
            except TimeoutError:
                seen.append("later")
            connection.settimeout(LIMIT)
            seen.append(connection.recv(100))
            connection.sendall(b"ok")

        done = self.client("--delay", "400ms", self.peer(serve).address)
        self.assertEqual((done.stdout, seen), (b"ok", ["later", b"1"]))

    def test_delay_does_not_count_against_the_timeout(self):
        def serve(connection):
            connection.recv(100)
            time.sleep(0.05)  # a reply at once would be found even without any time left
            connection.sendall(b"ok")

        done = self.client("--delay", "600ms", "--timeout", "500ms", self.peer(serve).address)
        self.assertEqual((done.stdout, done.returncode), (b"ok", 0))


class JsonTest(TestCase):
    KEYS = ["schema_version", "program", "version", "address", "outcome", "code", "attempts",
            "reply", "reply_hex", "reply_bytes", "connect_ns", "exchange_ns", "total_ns", "exit",
            "error", "hint"]

    def found(self, *options, **more):
        done = self.client("--json", *options, **more)
        self.assertEqual(done.stdout.count(b"\n"), 1)
        found = json.loads(done.stdout.decode("utf-8"))
        self.assertEqual(list(found), self.KEYS)
        self.assertEqual((found["schema_version"], found["exit"]), (1, done.returncode))
        return found

    def test_answer(self):
        peer = self.peer(reply_with("wel\0c\"\\\n\u00f6me".encode()))
        found = self.found(peer.address)
        self.assertEqual((found["address"], found["outcome"], found["code"], found["attempts"]),
                         (peer.address, "answered", 0, 1))
        self.assertEqual(found["reply"], "wel\0c\"\\\n\u00f6me")
        self.assertEqual((found["error"], found["hint"], found["exit"]), (None, None, 0))
        self.assertGreater(found["connect_ns"], 0)
        self.assertEqual(found["connect_ns"] + found["exchange_ns"], found["total_ns"])

    def test_reply_that_is_no_utf8_is_hexadecimal_only(self):
        for reply in (b"\xff", b"a\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
                      b"\xe2\x82", b"\xf0\x80\x80\xaf"):
            found = self.found(self.peer(reply_with(reply)).address)
            self.assertEqual((found["reply"], found["reply_hex"], found["reply_bytes"]),
                             (None, reply.hex(), len(reply)))

    def test_utf8_of_every_length(self):
        reply = "a\u00e9\u20ac\U0001f6aa\ud7ff\ue000\U0010ffff"
        found = self.found(self.peer(reply_with(reply.encode())).address)
        self.assertEqual(found["reply"], reply)

    def test_failures(self):
        refused = "127.0.0.1:%d" % self.closed_port()
        for options, code, outcome in (
                ((refused,), 4, "not_sent"),
                ((self.peer(answer_nothing).address,), 6, "maybe_executed"),
                ((self.peer(stay_silent).address, "--timeout", "100ms"), 5, "maybe_executed"),
                ((self.peer(reply_with(b"12")).address, "--max-reply", "1"), 6, "answered"),
                ((self.peer(reply_with(b"12")).address, "--expect", "1"), 1, "answered"),
                (("127.0.0.1:70000",), 2, None),
                (("--nonsense",), 2, None),
                (("--timeout", "-1"), 2, None),
                (("a:1", "b", "c"), 2, None)):
            with self.subTest(options):
                found = self.found(*options)
                self.assertEqual((found["exit"], found["outcome"]), (code, outcome))
                self.assertIsInstance(found["error"], str)

    def test_expected_reply_is_in_the_object_when_it_is_another(self):
        found = self.found(self.peer(reply_with(b"12")).address, "--expect", "1")
        self.assertEqual((found["reply"], found["code"]), ("12", 0))


if __name__ == "__main__":
    unittest.main()
