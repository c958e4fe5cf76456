# SPDX-License-Identifier: MIT
"""http_hello answers GET and HEAD, keeps connections, and refuses what is not quite HTTP."""
import email.utils
import http.client
import os
import random
import signal
import time
import unittest

from test_examples import Running

HOST = b"Host: localhost\r\n"
SEED = int(os.environ.get("GATE_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)


def receive_all(s):
    got = b""
    while more := s.recv(65536):
        got += more
    return got


def split_replies(stream, heads=()):
    """[(status, fields, body)] of a stream of replies; those whose numbers are in heads have no
    body."""
    replies = []
    while stream:
        head, mark, stream = stream.partition(b"\r\n\r\n")
        assert mark, head
        status, *lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        size = 0 if len(replies) in heads else int(fields["Content-Length"])
        assert len(stream) >= size, "a body is cut"
        replies.append((int(status.split()[1]), fields, stream[:size]))
        stream = stream[size:]
    return replies


class Server(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Running("http_hello")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def exchange(self, *pieces, heads=(), end=True):
        """What comes back for these pieces until the server closes; with end the client ends its
        side."""
        with self.server.connect() as s:
            for piece in pieces:
                s.sendall(piece)
            if end:
                s.shutdown(1)
            return split_replies(receive_all(s), heads)

    def status(self, request, **options):
        replies = self.exchange(request, **options)
        self.assertEqual(len(replies), 1, replies)
        return replies[0][0]

    def refused(self, request, status):
        """One reply with this status, then the server closes; what follows is not answered."""
        hidden = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
        replies = self.exchange(request + hidden, end=False)
        self.assertEqual([reply[0] for reply in replies], [status], request)
        self.assertEqual(replies[0][1]["Connection"], "close")
        return replies[0]


class Answers(Server):
    def test_client_of_the_library_gets_the_page_on_one_connection(self):
        client = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        for path, status, body in (("/", 200, b"hello\n"), ("/x", 404, b"404 Not Found\n"),
                                   ("/?a=1", 200, b"hello\n")):
            client.request("GET", path)
            if path == "/":
                sock = client.sock
            reply = client.getresponse()
            self.assertEqual((reply.status, reply.read()), (status, body))
            self.assertIs(client.sock, sock)
        client.close()

    def test_head_has_the_length_and_no_body(self):
        request = b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n"
        head, get = self.exchange(request, heads={0})
        self.assertEqual(head, (200, get[1], b""))
        self.assertEqual(get[2], b"hello\n")

    def test_head_that_ends_the_connection_has_no_body(self):
        head, = self.exchange(b"HEAD / HTTP/1.0\r\n\r\n", heads={0}, end=False)
        self.assertEqual((head[0], head[1]["Content-Length"]), (200, "6"))

    def test_head_is_refused_without_a_body(self):
        replies = self.exchange(b"HEAD / HTTP/1.1\r\n\r\n", heads={0}, end=False)
        self.assertEqual([reply[0] for reply in replies], [400])

    def test_date_is_now(self):
        fields = self.exchange(b"GET / HTTP/1.0\r\n\r\n")[0][1]
        date = email.utils.parsedate_to_datetime(fields["Date"]).timestamp()
        self.assertLess(abs(date - time.time()), 10)

    def test_pipelined_requests_are_answered_in_order(self):
        paths = [b"/" if i % 3 else b"/%d" % i for i in range(500)]
        stream = b"".join(b"GET %s HTTP/1.1\r\n%s\r\n" % (path, HOST) for path in paths)
        statuses = [reply[0] for reply in self.exchange(stream)]
        self.assertEqual(statuses, [200 if path == b"/" else 404 for path in paths])

    def test_connection_stays_or_closes_as_asked(self):
        for version, option, stays in ((b"1.1", b"", True), (b"1.1", b"close", False),
                                       (b"1.1", b"x, CLOSE", False), (b"1.0", b"", False),
                                       (b"1.0", b"Keep-Alive", True), (b"1.0", b"close", False),
                                       (b"1.9", b"", True)):
            field = b"Connection: " + option + b"\r\n" if option else b""
            one = b"GET / HTTP/" + version + b"\r\n" + HOST + field + b"\r\n"
            replies = self.exchange(one + one)
            self.assertEqual([reply[0] for reply in replies], [200, 200] if stays else [200],
                             (version, option))
            expected = "close" if not stays else "keep-alive" if version == b"1.0" else None
            self.assertEqual(replies[0][1].get("Connection"), expected)

    def test_host_may_be_missing_in_1_0_only(self):
        self.assertEqual(self.status(b"GET / HTTP/1.0\r\n\r\n"), 200)
        self.refused(b"GET / HTTP/1.1\r\n\r\n", 400)

    def test_absolute_targets_and_odd_but_valid_heads(self):
        for line, fields, status in (
                (b"GET http://localhost/ HTTP/1.1", HOST, 200),
                (b"GET HTTP://localhost HTTP/1.1", HOST, 200),
                (b"GET http://localhost/x HTTP/1.1", HOST, 404),
                (b"GET http://localhost?a=/b HTTP/1.1", HOST, 200),
                (b"\r\nGET / HTTP/1.1", HOST, 200),
                (b"GET / HTTP/1.1", b"hOST:\tlocalhost \t\r\nX:\r\nY: \xe9\r\n", 200),
                (b"GET / HTTP/1.1", HOST + b"Content-Length: 0\r\n", 200)):
            request = line + b"\r\n" + fields + b"\r\n"
            self.assertEqual(self.status(request), status, request)

    def test_stop_signal_ends_it_in_good_order(self):
        with Running("http_hello") as server:
            server.process.send_signal(signal.SIGTERM)
            out, err = server.process.communicate(timeout=20)
            self.assertEqual((server.process.returncode, out, err), (0, "", ""))


class Refusals(Server):
    def test_request_lines_that_are_malformed(self):
        for line in (b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1",
                     b"GET / http/1.1", b"GET / HTTP/11", b"GET / HTTP/1.x", b"G@T / HTTP/1.1",
                     b"GET /\x00 HTTP/1.1", b"GET /\xe9 HTTP/1.1", b"GET /#a HTTP/1.1",
                     b"GET x HTTP/1.1", b"GET * HTTP/1.1", b"GET http:///x HTTP/1.1",
                     b"GET http://?a HTTP/1.1", b"GET ?a HTTP/1.1", b"\r\n\r\nGET / HTTP/1.1",
                     b"GET / HTTP/1.1\r", b"\x16\x03\x01\x02"):
            self.refused(line + b"\r\n" + HOST + b"\r\n", 400)

    def test_fields_that_are_malformed(self):
        for field in (b"no colon", b": x", b"X : y", b" X: y", b"X: y\r\n folded", b"X: \x00",
                      b"X: a\rb", b"X: \x7f", b"X\xe9: y", b"Host: localhost", b"Host: a b",
                      b"Host: a/b"):
            self.refused(b"GET / HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n", 400)

    def test_bare_line_feeds(self):
        for request in (b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\nHost: a\n\r\n",
                        b"GET / HTTP/1.1\r\nHost: a\r\n\n", b"\nGET / HTTP/1.1\r\n"):
            self.refused(request, 400)

    def test_requests_with_content_cannot_hide_others(self):
        for fields, status in ((b"Content-Length: 5", 413), (b"Content-Length: 00", 200),
                               (b"Content-Length: -1", 400), (b"Content-Length: +1", 400),
                               (b"Content-Length: ", 400), (b"Content-Length: 0, 0", 400),
                               (b"Content-Length: 0\r\nContent-Length: 0", 400),
                               (b"Content-Length: 99999999999999999999999", 413),
                               (b"Transfer-Encoding: chunked", 501),
                               (b"Transfer-Encoding: identity", 501),
                               (b"Transfer-Encoding: chunked\r\nContent-Length: 0", 400)):
            request = b"GET / HTTP/1.1\r\n" + HOST + fields + b"\r\n\r\n"
            if status == 200:
                self.assertEqual(self.status(request), 200)
            else:
                self.refused(request, status)
        self.refused(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400)

    def test_methods_and_versions(self):
        for line, status in ((b"POST / HTTP/1.1", 405), (b"DELETE / HTTP/1.1", 405),
                             (b"get / HTTP/1.1", 501), (b"BREW / HTTP/1.1", 501),
                             (b"GET / HTTP/2.0", 505), (b"PRI * HTTP/2.0", 505),
                             (b"GET / HTTP/0.9", 505)):
            reply = self.refused(line + b"\r\n" + HOST + b"\r\n", status)
            self.assertEqual(reply[1].get("Allow"), "GET, HEAD" if status == 405 else None)

    def test_sizes(self):
        def target(size):
            return b"GET /" + b"x" * (size - len(b"GET / HTTP/1.1\r")) + b" HTTP/1.1\r\n"

        def head(size):
            start = b"GET / HTTP/1.1\r\n" + HOST + b"X: "
            return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"

        self.assertEqual(self.status(target(4096) + HOST + b"\r\n"), 404)
        self.refused(target(4097) + HOST + b"\r\n", 414)
        self.refused(b"GET /" + b"x" * 100000, 414)
        self.assertEqual(self.status(head(8192)), 200)
        self.refused(head(8193), 431)
        self.refused(head(100000), 431)


class Splits(Server):
    REQUESTS = (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\nGET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
        b"GET /" + b"y" * 3000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    )
    ENDS = (
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\nbad\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n bad\r\n\r\n",
        b"GET /" + b"y" * 5000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"z" * 9000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"GET / HTTP/1.1\nHost: a\n\n",
    )

    def statuses(self, pieces):
        with self.server.connect() as s:
            s.setsockopt(6, 1, 1)  # TCP_NODELAY: pieces stay pieces
            try:
                for piece in pieces:
                    s.sendall(piece)
                s.shutdown(1)
            except ConnectionError:
                pass  # it was refused before the last piece
            return [reply[0] for reply in split_replies(receive_all(s))]

    def test_any_split_gives_the_same(self):
        draw = random.Random(SEED)
        for ending in self.ENDS:
            stream = b"".join(self.REQUESTS) + ending
            whole = self.statuses([stream])
            self.assertEqual(whole[:4], [200, 404, 404, 200])
            self.assertEqual(len(whole), 5 if ending else 4)
            for _ in range(10):
                cuts = sorted(draw.sample(range(len(stream)), draw.randrange(1, 40)))
                pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)])]
                self.assertEqual(self.statuses(pieces), whole, f"GATE_SEED={SEED} {ending[:60]}")

    def test_byte_by_byte(self):
        stream = self.REQUESTS[0] + self.REQUESTS[1] + self.ENDS[1]
        self.assertEqual(self.statuses([stream[i:i + 1] for i in range(len(stream))]),
                         [200, 404, 400])


if __name__ == "__main__":
    unittest.main()
