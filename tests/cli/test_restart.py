# SPDX-License-Identifier: MIT
"""One gate-server takes over from another, and clients notice nothing."""
import socket
import threading
import unittest
from collections import Counter

from harness import LIMIT, WELCOME, TestCase, read_all, wait_until


def is_over(client):
    """The server has ended the connection, which says nothing unasked."""
    client.setblocking(False)
    try:
        client.recv(1, socket.MSG_PEEK)
        return True
    except BlockingIOError:
        return False
    finally:
        client.settimeout(LIMIT)


class Restart(TestCase):
    def test_clients_notice_nothing_while_the_listening_socket_is_handed_on(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        sock.listen(64)
        over, answers = threading.Event(), []

        def ask_on():
            while not over.is_set():
                with socket.create_connection(sock.getsockname(), timeout=LIMIT) as client:
                    client.sendall(b"1")
                    answers.append(read_all(client))

        asking = threading.Thread(target=ask_on)
        asking.start()
        try:
            server = self.serve(sock)
            for _ in range(5):
                enough = len(answers) + 20
                wait_until(lambda: len(answers) >= enough or not asking.is_alive(), "answers")
                old, server = server, self.serve(sock)
                self.assertEqual(old.stop(), 0)
        finally:
            over.set()
            asking.join()
        self.assertGreaterEqual(len(answers), 100)
        self.assertEqual(set(answers), {WELCOME})

    def test_kept_connections_lose_no_request_when_another_server_takes_over(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        sock.listen(64)
        over, answered, lost = threading.Event(), Counter(), []

        def talk(number):
            client = None
            while not over.is_set():
                if client is None or is_over(client):
                    if client:
                        client.close()
                    client = socket.create_connection(sock.getsockname(), timeout=LIMIT)
                try:
                    client.sendall(b"1\n")
                    if client.recv(100) == WELCOME + b"\n":
                        answered[number] += 1
                        continue
                    lost.append("no answer")
                except OSError as error:
                    lost.append(str(error))
                client.close()
                client = None
            if client:
                client.close()

        talking = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
        for thread in talking:
            thread.start()
        try:
            server = self.serve(sock, "--framing", "line")
            for _ in range(12):
                enough = answered.total() + 400
                wait_until(lambda: answered.total() >= enough, "answers")
                old, server = server, self.serve(sock, "--framing", "line")
                self.assertEqual(old.stop(), 0)
        finally:
            over.set()
            for thread in talking:
                thread.join()
        self.assertEqual(lost, [])
        self.assertEqual(len(answered), 8)

    def serve(self, sock, *more):
        return self.server(*more, listen="fd:%d" % sock.fileno(), pass_fds=(sock.fileno(),))

    def test_connections_wait_where_nobody_serves_for_a_while(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        sock.listen(64)
        self.assertEqual(self.serve(sock).stop(), 0)
        clients = [self.connect(sock.getsockname()) for _ in range(20)]
        for client in clients:
            client.sendall(b"1")
        self.serve(sock)
        self.assertEqual({read_all(client) for client in clients}, {WELCOME})

    def test_old_one_serves_on_where_the_new_one_cannot_start(self):
        old = self.server()
        for more in (["-l", "127.0.0.1:%d" % old.port], ["-l", "fd:99"], ["--timeout", "soon"]):
            self.assertNotEqual(self.fail_server(*more).returncode, 0)
            self.assertEqual(self.ask(old, b"1"), WELCOME)


if __name__ == "__main__":
    unittest.main()
