# SPDX-License-Identifier: MIT
"""resp_kv speaks RESP2 as its clients expect it, within its bounds."""
import os
import random
import re
import signal
import socket
import unittest

from test_examples import Running

SEED = int(os.environ.get("GATE_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
MIB = 1024 * 1024


class Failure(Exception):
    """A reply that begins with a minus."""


def command(*args):
    parts = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class Client:
    """A strict reader of RESP2."""

    def __init__(self, server):
        self.sock = server.connect()
        self.sock.setsockopt(6, 1, 1)  # TCP_NODELAY: pieces stay pieces
        self.stream = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stream.close()
        self.sock.close()

    def send(self, stream):
        self.sock.sendall(stream)

    def ask(self, *args):
        self.send(command(*args))
        return self.read()

    def read(self):
        """Bytes, a number, None, a list or a Failure; EOFError at the end."""
        line = self.stream.readline()
        if not line:
            raise EOFError
        assert line.endswith(b"\r\n"), line
        kind, text = line[:1], line[1:-2]
        if kind == b"-":
            return Failure(text.decode())
        if kind == b"+":
            return text
        if kind == b":":
            return int(text)
        if kind == b"$":
            if text == b"-1":
                return None
            bulk = self.stream.read(int(text) + 2)
            assert bulk.endswith(b"\r\n") and len(bulk) == int(text) + 2
            return bulk[:-2]
        assert kind == b"*", line
        return [self.read() for _ in range(int(text))]

    def read_all(self):
        replies = []
        try:
            while True:
                replies.append(self.read())
        except EOFError:
            return [str(reply) if isinstance(reply, Failure) else reply for reply in replies]


class Server(unittest.TestCase):
    def setUp(self):
        self.server = Running("resp_kv")
        self.addCleanup(self.server.__exit__)

    def client(self):
        client = Client(self.server)
        self.addCleanup(client.__exit__)
        return client

    def fails(self, reply, start):
        self.assertIsInstance(reply, Failure)
        self.assertTrue(str(reply).startswith(start), reply)


class Commands(Server):
    def test_ping_and_echo(self):
        client = self.client()
        self.assertEqual(client.ask("PING"), b"PONG")
        self.assertEqual(client.ask("ping", "hi"), b"hi")
        self.assertEqual(client.ask("Echo", b"a\r\n\0b"), b"a\r\n\0b")
        self.assertEqual(client.ask("ECHO", ""), b"")

    def test_set_get_del_exists(self):
        client = self.client()
        self.assertIsNone(client.ask("GET", "k"))
        for value in (b"v", b"w", b"", b"longer\r\n\0value", b"x" * 100000, b"short"):
            self.assertEqual(client.ask("SET", "k", value), b"OK")
            self.assertEqual(client.ask("GET", "k"), value)
        self.assertEqual(client.ask("SET", "", "empty"), b"OK")
        self.assertEqual(client.ask("GET", ""), b"empty")
        self.assertEqual(client.ask("EXISTS", "k", "k", "no", ""), 3)
        self.assertEqual(client.ask("DEL", "k", "k", "no", ""), 2)
        self.assertEqual(client.ask("EXISTS", "k", ""), 0)
        self.assertIsNone(client.ask("GET", "k"))

    def test_clients_share_the_keys(self):
        one, two = self.client(), self.client()
        one.ask("SET", "k", "v")
        self.assertEqual(two.ask("GET", "k"), b"v")

    def test_incr(self):
        client = self.client()
        self.assertEqual([client.ask("INCR", "n") for _ in range(11)], list(range(1, 12)))
        self.assertEqual(client.ask("GET", "n"), b"11")
        for value in (-2, -1, 9, 99, 2**63 - 2, -2**63):
            client.ask("SET", "n", value)
            self.assertEqual(client.ask("INCR", "n"), value + 1)
            self.assertEqual(client.ask("GET", "n"), b"%d" % (value + 1))

    def test_incr_refuses_what_is_no_number(self):
        client = self.client()
        for value in (b"", b"x", b"1x", b" 1", b"1 ", b"+1", b"01", b"-0", b"-", b"1\0", b"1.0",
                      b"42\r\nx", b"\r\n1", 2**63 - 1, 2**63, -2**63 - 1, b"9" * 1000):
            client.ask("SET", "n", value)
            self.fails(client.ask("INCR", "n"), "ERR value is not an integer")

    def test_mget(self):
        client = self.client()
        client.ask("SET", "a", "1")
        client.ask("SET", "b", b"x" * 10000)
        self.assertEqual(client.ask("MGET", "a", "no", "b", "a"),
                         [b"1", None, b"x" * 10000, b"1"])

    def test_many_keys_against_a_dictionary(self):
        draw, expected, client = random.Random(SEED), {}, self.client()
        for _ in range(5000):
            key = b"key:%d" % draw.randrange(500)
            what = draw.randrange(4)
            if what == 0:
                expected.pop(key, None)
                client.ask("DEL", key)
            elif what == 1:
                self.assertEqual(client.ask("GET", key), expected.get(key), f"GATE_SEED={SEED}")
            else:
                expected[key] = draw.randbytes(draw.randrange(40))
                client.ask("SET", key, expected[key])
        keys = [b"key:%d" % i for i in range(500)]
        self.assertEqual(client.ask("MGET", *keys), [expected.get(key) for key in keys])

    def test_keys_that_share_a_bucket(self):
        client, count = self.client(), 40000  # of which about 800 do

        def all_of(*args):
            client.send(b"".join(command(*(str(i) if arg == "?" else arg for arg in args))
                                 for i in range(count)))
            return [client.read() for _ in range(count)]

        self.assertEqual(all_of("SET", "?", "?"), [b"OK"] * count)
        self.assertEqual(all_of("GET", "?"), [b"%d" % i for i in range(count)])
        self.assertEqual(all_of("DEL", "?"), [1] * count)
        self.assertEqual(all_of("EXISTS", "?"), [0] * count)

    def test_what_the_tools_ask_for(self):
        client = self.client()
        self.assertEqual(client.ask("COMMAND"), [])
        self.assertEqual(client.ask("COMMAND", "DOCS"), [])
        self.assertEqual(client.ask("CONFIG", "GET", "save"), [b"save", b""])
        self.fails(client.ask("CONFIG", "SET", "save"), "ERR only CONFIG GET")

    def test_faults_of_a_command_leave_the_connection(self):
        client = self.client()
        self.fails(client.ask("NOPE"), "ERR unknown command")
        self.fails(client.ask("GET\0", "k"), "ERR unknown command")
        self.fails(client.ask("G", "k"), "ERR unknown command")
        self.fails(client.ask(""), "ERR unknown command")
        for args in (("GET",), ("GET", "a", "b"), ("SET", "k"), ("SET", "k", "v", "NX"),
                     ("ECHO",), ("PING", "a", "b"), ("DEL",), ("MGET",), ("INCR",)):
            self.fails(client.ask(*args), "ERR wrong number of arguments")
        self.assertEqual(client.ask("PING"), b"PONG")

    def test_inline_commands(self):
        client = self.client()
        client.send(b"PING\r\n\r\n\nSET  k\tv \r\nGET k\n*0\r\nECHO *\r\n")
        self.assertEqual([client.read() for _ in range(4)], [b"PONG", b"OK", b"v", b"*"])

    def test_pipelined_commands_are_answered_in_order(self):
        client = self.client()
        client.send(b"".join(command("INCR", "n") + command("ECHO", i) for i in range(2000)))
        for i in range(2000):
            self.assertEqual((client.read(), client.read()), (i + 1, b"%d" % i))

    def test_stop_signal_ends_it_in_good_order(self):
        self.assertEqual(self.client().ask("SET", "k", "v"), b"OK")
        self.server.process.send_signal(signal.SIGTERM)
        out, err = self.server.process.communicate(timeout=20)
        self.assertEqual((self.server.process.returncode, out, err), (0, "", ""))


class Protocol(Server):
    ERRORS = (
        (b"*x\r\n", "invalid multibulk length"),
        (b"*-1\r\n", "invalid multibulk length"),
        (b"*1025\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*00000000000001\r\n", "invalid multibulk length"),
        (b"*1\n$4\r\nPING\r\n", "invalid multibulk length"),
        (b"*1\r$4\r\nPING\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*1\r\n+PING\r\n", "expected '$'"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$1048577\r\n", "invalid bulk length"),
        (b"*2\r\n$4\r\nECHO\r\n$1048570\r\n", "invalid bulk length"),
        (b"*1\r\n$4\r\nPINGS\r\n", "expected CRLF"),
        (b"*1\r\n$4\r\nPING\rx", "expected CRLF"),
        (b"*1\r\n$4\r\nPINGx\n", "expected CRLF"),
        (b"*2\r\n$4\r\nECO\r\n$0\r\n\r\n", "expected CRLF"),
        (b"a " * 1025 + b"\n", "too many arguments"),
        (b"x" * 65536, "too big inline request"),
    )

    def test_broken_protocol_is_named_and_ends_the_connection(self):
        for stream, error in self.ERRORS:
            with Client(self.server) as client:
                client.send(command("PING") + stream + command("SET", "hidden", "x"))
                replies = client.read_all()
                self.assertEqual(len(replies), 2, (stream[:40], replies))
                self.assertEqual(replies[0], b"PONG")
                self.assertTrue(replies[1].startswith("ERR Protocol error: " + error), replies)
        self.assertEqual(self.client().ask("EXISTS", "hidden"), 0)

    def replies(self, pieces):
        with Client(self.server) as client:
            try:
                for piece in pieces:
                    client.send(piece)
                client.sock.shutdown(1)
            except ConnectionError:
                pass  # it was refused before the last piece
            return client.read_all()

    def test_any_split_gives_the_same(self):
        draw = random.Random(SEED)
        good = (command("SET", "k", b"v\r\n*1\r\n") + command("GET", "k") + b"PING\r\n"
                + command("ECHO", b"x" * 20000) + command("MGET", *["k"] * 200) + b"*0\r\n")
        for bad, _ in ((b"", ""), *self.ERRORS):
            stream = good + bad
            whole = self.replies([stream])
            self.assertEqual(len(whole), 6 if bad else 5)
            for _ in range(10):
                cuts = sorted(draw.sample(range(len(stream)), draw.randrange(1, 40)))
                pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)])]
                self.assertEqual(self.replies(pieces), whole, f"GATE_SEED={SEED} {bad[:40]}")

    def test_byte_by_byte(self):
        stream = command("SET", "k", "v") + b"GET k\r\n" + command("MGET", "k", "k") + b"*1\r\n+"
        self.assertEqual(self.replies([stream[i:i + 1] for i in range(len(stream))]),
                         [b"OK", b"v", [b"v", b"v"], "ERR Protocol error: expected '$'"])

    def test_error_does_not_wait_for_bytes_behind_it(self):
        """The answer to PING says that the server has looked at the bytes behind it."""
        stream = b"*2\r\n$4\r\nECO\r\n$0\r\n\r\n"
        for cut in range(1, 13):
            with Client(self.server) as client:
                client.send(command("PING") + stream[:cut])
                self.assertEqual(client.read(), b"PONG")
                client.send(stream[cut:])
                client.sock.shutdown(1)
                self.fails(client.read(), "ERR Protocol error: expected CRLF")


class Bounds(Server):
    def test_largest_command_is_taken_and_a_larger_one_is_not(self):
        client = self.client()
        around = len(command("SET", "k", b"x" * MIB)) - MIB
        value = b"x" * (MIB - around)
        self.assertEqual(client.ask("SET", "k", value), b"OK")
        self.assertEqual(client.ask("GET", "k"), value)
        # Refused for what it announces: a client may be cut off while it sends so much.
        client.send(command("SET", "k", value + b"x")[:100])
        self.fails(client.read(), "ERR Protocol error: invalid bulk length")

    def test_a_reply_that_is_too_large_is_an_error(self):
        client = self.client()
        client.ask("SET", "k", b"x" * 1000000)
        self.assertEqual(client.ask("MGET", *["k"] * 4), [b"x" * 1000000] * 4)
        self.fails(client.ask("MGET", *["k"] * 5), "ERR the reply is too large")
        self.assertEqual(client.ask("PING"), b"PONG")

    def test_clients_that_never_read_take_no_more_than_the_buffers(self):
        honest = self.client()
        honest.ask("SET", "k", b"x" * 1000000)
        for _ in range(100):
            deaf = self.client()
            deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.send(command("MGET", *["k"] * 4))
            self.assertEqual(honest.ask("PING"), b"PONG")
        with open("/proc/%d/status" % self.server.process.pid, encoding="ascii") as status:
            most = int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024
        if not os.environ.get("GATE_SANITIZE"):  # which takes memory of its own
            self.assertLess(most, 100 * MIB)

    def test_full_store_says_so_and_takes_more_after_a_deletion(self):
        client, value, stored = self.client(), b"x" * 1000000, 0
        while client.ask("SET", b"k%d" % stored, value) == b"OK":
            stored += 1
            self.assertLess(stored, 300)
        self.assertGreater(stored, 250)
        self.fails(client.ask("SET", "more", value), "OOM")
        while client.ask("SET", b"k%d" % stored, b"x" * 10000) == b"OK":
            stored += 1
        self.fails(client.ask("SET", "k0", value + b"x" * 40000), "OOM")
        self.assertEqual(client.ask("GET", "k0"), value)
        self.assertEqual(client.ask("DEL", "k0"), 1)
        self.assertEqual(client.ask("SET", "more", value), b"OK")


if __name__ == "__main__":
    unittest.main()
