# SPDX-License-Identifier: MIT
"""One gate-server takes over from another, and clients notice nothing."""
import socket
import threading
import unittest

from harness import LIMIT, WELCOME, TestCase, read_all, wait_until


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

    def serve(self, sock):
        return self.server(listen="fd:%d" % sock.fileno(), pass_fds=(sock.fileno(),))

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
