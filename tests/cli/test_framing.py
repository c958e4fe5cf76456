# SPDX-License-Identifier: MIT
"""Each framing, spoken by Python on one side and a program of ours on the other."""
import os
import struct
import unittest

from harness import (REJECT, WELCOME, TestCase, read_all, read_exactly, send_by_bytes, talk)


def varint(number):
    out = b""
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


# Name -> what stands around a body. The welcome and reject of "fixed" need its length.
KEPT_OPEN = {
    "line": lambda body: body + b"\n",
    "u8": lambda body: struct.pack(">B", len(body)) + body,
    "u16": lambda body: struct.pack(">H", len(body)) + body,
    "u32": lambda body: struct.pack(">I", len(body)) + body,
    "u16le": lambda body: struct.pack("<H", len(body)) + body,
    "u32le": lambda body: struct.pack("<I", len(body)) + body,
    "varint": lambda body: varint(len(body)) + body,
    "netstring": lambda body: b"%d:%s," % (len(body), body),
    "fixed:5": lambda body: body,
    "delimiter:<>": lambda body: body + b"<>",
}
WORD, YES, NO = b"hello", b"enter", b"leave"


class ServerTest(TestCase):
    def framed(self, name, *options, **more):
        return self.server("--framing", name, "--accept", WORD.decode(), "--welcome", YES.decode(),
                           "--reject", NO.decode(), *options, **more)

    def test_connection_stays_open_for_further_requests(self):
        for name, frame in KEPT_OPEN.items():
            with self.subTest(name):
                sock = self.connect(self.framed(name))
                for _ in range(3):
                    sock.sendall(frame(WORD))
                    self.assertEqual(read_exactly(sock, len(frame(YES))), frame(YES))

    def test_pipelined_requests_are_answered_in_order(self):
        for name, frame in KEPT_OPEN.items():
            with self.subTest(name):
                got = self.ask(self.framed(name), frame(WORD) * 40, end=True)
                self.assertEqual(got, frame(YES) * 40)

    def test_requests_byte_by_byte_are_the_same_requests(self):
        for name, frame in KEPT_OPEN.items():
            with self.subTest(name):
                path = os.path.join(self.folder(), "door")
                self.framed(name, listen="unix:" + path)
                sock = self.connect(path)
                send_by_bytes(sock, frame(WORD) * 2)
                self.assertEqual(read_exactly(sock, 2 * len(frame(YES))), frame(YES) * 2)

    def test_other_request_is_rejected_then_closed(self):
        for name, frame in KEPT_OPEN.items():
            with self.subTest(name):
                got = self.ask(self.framed(name), frame(WORD) + frame(b"hullo") + frame(WORD))
                self.assertEqual(got, frame(YES) + frame(NO))

    def test_request_that_ends_too_early_is_not_answered(self):
        for name, frame in KEPT_OPEN.items():
            with self.subTest(name):
                got = self.ask(self.framed(name), frame(WORD) + frame(WORD)[:-1], end=True)
                self.assertEqual(got, frame(YES))

    def test_line_with_cr_is_the_same_line(self):
        self.assertEqual(self.ask(self.framed("line"), b"hello\r\n", end=True), b"enter\n")

    def test_empty_request_is_a_request(self):
        server = self.server("--framing", "netstring", "--accept", "")
        self.assertEqual(self.ask(server, b"0:,", end=True), b"18:" + WELCOME + b",")

    def test_eof_takes_all_that_comes(self):
        word = "x" * 100000
        server = self.server("--framing", "eof", "--accept", word)
        self.assertEqual(self.ask(server, word.encode(), end=True), WELCOME)
        self.assertEqual(self.ask(server, word.encode() + b"x", end=True), REJECT)

    def test_eof_waits_for_the_end(self):
        path = os.path.join(self.folder(), "door")
        self.framed("eof", listen="unix:" + path)
        sock = self.connect(path)
        send_by_bytes(sock, WORD)
        self.assertEqual(talk(sock, b"", end=True), YES)

    def test_bytes_that_are_no_frame_close_the_connection(self):
        for name, bad in (("netstring", b"05:hello,"), ("netstring", b"-1:,"),
                          ("netstring", b"5:hello;"), ("varint", b"\x80\x00"),
                          ("varint", b"\xff\xff\xff\xff\xff\x01")):
            with self.subTest(name, bad=bad):
                self.assertEqual(self.ask(self.framed(name), bad), b"")

    def test_request_over_the_limit_closes_the_connection(self):
        for name, bad in (("u32", b"\xff\xff\xff\xff"), ("u32le", b"\xff\xff\xff\xff"),
                          ("netstring", b"999999999:"), ("varint", b"\xff\xff\xff\xff\x0f"),
                          ("line", b"x" * 65)):
            with self.subTest(name):
                self.assertEqual(self.ask(self.framed(name, "--max-request", "64"), bad), b"")

    def test_request_at_the_limit_is_served(self):
        server = self.framed("u16", "--max-request", "5")
        self.assertEqual(self.ask(server, b"\0\5hello", end=True), b"\0\5enter")
        self.assertEqual(self.ask(server, b"\0\6hello!", end=True), b"")


class ClientTest(TestCase):
    def test_client_frames_the_request_and_strips_the_reply(self):
        for name, frame in KEPT_OPEN.items():
            with self.subTest(name):
                seen = []

                def serve(connection, frame=frame, seen=seen):
                    seen.append(read_exactly(connection, len(frame(WORD))))
                    connection.sendall(frame(YES))
                    seen.append(connection.recv(1))

                peer = self.peer(serve)
                done = self.client("--framing", name, peer.address, WORD.decode())
                peer.thread.join()
                self.assertEqual((done.stdout, done.returncode), (YES, 0))
                self.assertEqual(seen, [frame(WORD), b""])

    def test_client_takes_a_reply_byte_by_byte(self):
        for name, frame in KEPT_OPEN.items():
            with self.subTest(name):
                def serve(connection, frame=frame):
                    read_exactly(connection, len(frame(WORD)))
                    for at in range(len(frame(YES))):
                        connection.sendall(frame(YES)[at:at + 1])
                    connection.recv(1)

                peer = self.peer(serve)
                done = self.client("--framing", name, peer.address, WORD.decode())
                self.assertEqual((done.stdout, done.returncode), (YES, 0))

    def test_client_says_that_a_reply_ended_too_early(self):
        for name, frame in KEPT_OPEN.items():
            with self.subTest(name):
                def serve(connection, frame=frame):
                    read_exactly(connection, len(frame(WORD)))
                    connection.sendall(frame(YES)[:-1])

                peer = self.peer(serve)
                done = self.client("--framing", name, peer.address, WORD.decode())
                self.assertEqual(done.returncode, 6, done.stderr)

    def test_client_with_eof_ends_its_side_and_reads_until_the_end(self):
        def serve(connection):
            connection.sendall(read_all(connection) * 1000)

        done = self.client("--framing", "eof", self.peer(serve).address, "word")
        self.assertEqual((done.stdout, done.returncode), (b"word" * 1000, 0))

    def test_client_with_raw_keeps_its_side_open_and_reads_until_the_end(self):
        def serve(connection):
            connection.recv(100)
            connection.setblocking(False)
            try:
                connection.sendall(b"ended" if connection.recv(1) == b"" else b"more")
            except BlockingIOError:
                connection.setblocking(True)
                connection.sendall(b"still ")
                connection.sendall(b"open")

        done = self.client(self.peer(serve).address, "1")
        self.assertEqual((done.stdout, done.returncode), (b"still open", 0))

    def test_programs_understand_each_other(self):
        for name in list(KEPT_OPEN) + ["raw", "eof"]:
            with self.subTest(name):
                server = self.server("--framing", name, "--accept", "hello", "--welcome", "enter",
                                     "--reject", "leave")
                where = "127.0.0.1:%d" % server.port
                for word, reply in (("hello", b"enter"), ("hullo", b"leave")):
                    done = self.client("--framing", name, where, word)
                    self.assertEqual((done.stdout, done.returncode), (reply, 0))

    def test_message_that_the_framing_cannot_carry_is_a_usage_error(self):
        port = self.server("--framing", "fixed:5", "--welcome", "enter", "--reject", "leave").port
        for name, word in (("fixed:5", "1"), ("u8", "x" * 256), ("line", "a\nb"),
                           ("delimiter:<>", "a<>b")):
            with self.subTest(name):
                done = self.client("--framing", name, "127.0.0.1:%d" % port, word)
                self.assertEqual(done.returncode, 2)
                self.assertIn(b"cannot carry this message", done.stderr)

    def test_answers_that_the_framing_cannot_carry_are_a_usage_error(self):
        for options in (("--framing", "fixed:5"), ("--framing", "line", "--reject", "a\nb"),
                        ("--framing", "u8", "--welcome", "x" * 256)):
            done = self.fail_server("-l", "127.0.0.1:0", *options)
            self.assertEqual(done.returncode, 2)
            self.assertIn(b"cannot carry", done.stderr)


if __name__ == "__main__":
    unittest.main()
