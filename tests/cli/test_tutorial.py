# SPDX-License-Identifier: MIT
"""The tutorial's behaviour, with the tutorial's own programs on either side of ours."""
import json
import os
import sys
import unittest

from harness import HERE, REJECT, WELCOME, TestCase, alone, talk


class TutorialTest(TestCase):
    def test_tutorial_client_is_welcomed_by_gate_server(self):
        done = self.tutorial_client(self.server().port, 0, "1")
        self.assertEqual((done.stdout, done.returncode), (WELCOME + b"\n", 0))

    def test_tutorial_client_with_a_delay_is_welcomed_by_gate_server(self):
        done = self.tutorial_client(self.server().port, 0.3, "1")
        self.assertEqual(done.stdout, WELCOME + b"\n")

    def test_tutorial_client_is_rejected_by_gate_server(self):
        done = self.tutorial_client(self.server().port, 0, "2")
        self.assertEqual((done.stdout, done.returncode), (REJECT + b"\n", 0))

    def test_tutorial_client_that_is_too_late_gets_nothing(self):
        server = self.server("--timeout", "100ms")
        done = self.tutorial_client(server.port, 0.6, "1")
        server.out.wait("time out")
        self.assertNotIn(WELCOME, done.stdout)
        self.assertNotIn(REJECT, done.stdout)

    def test_gate_client_is_welcomed_by_the_tutorial_server(self):
        server = self.tutorial_server(5)
        done = self.client("127.0.0.1:%d" % server.port)
        self.assertEqual((done.stdout, done.returncode), (WELCOME, 0))

    def test_gate_client_with_a_delay_is_welcomed_by_the_tutorial_server(self):
        server = self.tutorial_server(5)
        done = self.client("--delay", "0.3", "127.0.0.1:%d" % server.port, "1")
        self.assertEqual((done.stdout, done.returncode), (WELCOME, 0))

    def test_gate_client_is_rejected_by_the_tutorial_server(self):
        server = self.tutorial_server(5)
        done = self.client("127.0.0.1:%d" % server.port, "11")
        self.assertEqual((done.stdout, done.returncode), (REJECT, 0))

    def test_gate_client_that_is_too_late_says_so(self):
        server = self.tutorial_server(0.1)
        done = self.client("--delay", "600ms", "127.0.0.1:%d" % server.port, "1")
        server.out.wait("time out")
        self.assertEqual((done.stdout, done.returncode), (b"", 6))
        self.assertIn(b"probably timed out", done.stderr)

    def test_gate_client_and_gate_server_understand_each_other(self):
        server = self.server()
        for word, reply in (("1", WELCOME), ("2", REJECT), ("1\n", REJECT), (" 1", REJECT)):
            done = self.client("127.0.0.1:%d" % server.port, word)
            self.assertEqual((done.stdout, done.returncode), (reply, 0))

    def test_silent_client_makes_the_server_print_time_out_once(self):
        server = self.server("--timeout", "100ms")
        self.assertEqual(self.ask(server, b""), b"")
        server.out.wait("time out")
        self.assertEqual(server.stop(), 0)
        self.assertEqual(server.out.all(), "time out\n")

    def test_served_clients_leave_nothing_on_stdout(self):
        server = self.server()
        self.ask(server, b"1")
        self.ask(server, b"2")
        self.assertEqual(server.stop(), 0)
        self.assertEqual(server.out.all(), "")

    def test_silent_client_does_not_hold_up_others(self):
        server = self.server()
        silent = self.connect(server)
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(talk(silent, b"1"), WELCOME)

    def test_request_is_cut_at_1024_bytes_and_still_answered(self):
        server = self.server("--accept", "x" * 1024)
        for size, reply in ((1023, REJECT), (1024, WELCOME), (3000, WELCOME), (100000, WELCOME)):
            self.assertEqual(self.ask(server, b"x" * size), reply, size)

    def test_peer_that_ends_its_side_is_still_answered(self):
        server = self.server()
        self.assertEqual(self.ask(server, b"1", end=True), WELCOME)

    def test_peer_that_ends_without_a_request_is_closed_in_silence(self):
        server = self.server()
        self.assertEqual(self.ask(server, b"", end=True), b"")
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)
        self.assertEqual(server.out.all(), "")

    def test_no_options_at_all_are_the_tutorial_on_port_9001(self):
        done = self.run_program(*alone(sys.executable, "-B", os.path.join(HERE, "defaults.py")))
        self.assertEqual(done.returncode, 0, done.stderr)
        seen = json.loads(done.stdout)
        self.assertEqual(seen["listening"], "0.0.0.0:9001")
        self.assertEqual(seen["backlog"], seen["largest"])
        self.assertEqual(seen["client"], WELCOME.decode())
        self.assertEqual(seen["silent"], "")
        self.assertGreaterEqual(seen["silent_seconds"], 4.99)
        self.assertEqual(seen["out"], "time out\n")
        self.assertEqual(seen["exit"], 0)


class NeighbourTest(TestCase):
    """Programs that people have at hand."""

    def test_nc_is_welcomed(self):
        server = self.server()
        done = self.run_program("nc", "127.0.0.1", str(server.port), data=b"1")
        self.assertEqual(done.stdout, WELCOME)

    def test_nc_that_ends_its_side_is_welcomed(self):
        server = self.server()
        done = self.run_program("nc", "-N", "127.0.0.1", str(server.port), data=b"1")
        self.assertEqual(done.stdout, WELCOME)

    def test_nc_with_a_newline_is_rejected_as_raw_and_welcomed_as_a_line(self):
        for options, reply in (([], REJECT), (["--framing", "line"], WELCOME + b"\n")):
            server = self.server(*options)
            done = self.run_program("nc", "-N", "127.0.0.1", str(server.port), data=b"1\n")
            self.assertEqual(done.stdout, reply)

    def test_socat_is_welcomed(self):
        server = self.server()
        done = self.run_program("socat", "-t", "20", "-", "TCP:127.0.0.1:%d" % server.port,
                                data=b"1")
        self.assertEqual(done.stdout, WELCOME)

    def test_socat_is_welcomed_over_a_unix_socket(self):
        path = os.path.join(self.folder(), "door")
        self.server(listen="unix:" + path)
        done = self.run_program("socat", "-t", "20", "-", "UNIX-CONNECT:" + path, data=b"1")
        self.assertEqual(done.stdout, WELCOME)

    def test_nc_is_welcomed_over_a_unix_socket(self):
        path = os.path.join(self.folder(), "door")
        self.server(listen="unix:" + path)
        done = self.run_program("nc", "-N", "-U", path, data=b"1")
        self.assertEqual(done.stdout, WELCOME)


if __name__ == "__main__":
    unittest.main()
