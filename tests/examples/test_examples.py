# SPDX-License-Identifier: MIT
"""Each example runs and does what its first comment says; what the README shows is the examples."""
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest

EXAMPLES = os.environ["GATE_EXAMPLES"]
SOURCE = os.environ["GATE_SOURCE"]
BUILD = os.environ["GATE_BUILD"]
LIBS = os.environ.get("GATE_LIBS", "").split()
SANITIZE = os.environ.get("GATE_SANITIZE", "")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def build(name, port, folder):
    """door and ask have the tutorial's port; here a copy of each gets a free one."""
    with open(os.path.join(SOURCE, "examples", name + ".c"), encoding="utf-8") as f:
        text = f.read().replace("9001", str(port))
    path = os.path.join(folder, name)
    with open(path + ".c", "w", encoding="utf-8") as f:
        f.write(text)
    flags = ["-fsanitize=" + SANITIZE] if SANITIZE else []
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Werror", *flags,
                    "-I", os.path.join(SOURCE, "include"), path + ".c", "-o", path,
                    os.path.join(BUILD, "libgate.a"), "-pthread", *LIBS], check=True)
    return path


class Running:
    """A running example; it says its port unless it is told one."""

    def __init__(self, name, port=0):
        path = os.path.join(EXAMPLES, name)
        self.port = port
        self.process = subprocess.Popen([path] if port else [path, "0"], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        if not port:
            line = self.process.stdout.readline()
            self.port = int(re.fullmatch(r"listening on port (\d+)\n", line).group(1))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.communicate()

    def connect(self):
        end = time.monotonic() + 20
        while True:  # one that is told its port may not listen yet
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=10)
            except ConnectionRefusedError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise
            time.sleep(0.01)

    def ask(self, request, until=None):
        with self.connect() as s:
            s.sendall(request)
            got = b""
            while until is None or not got.endswith(until):
                more = s.recv(4096)
                if not more:
                    break
                got += more
            return got


class Examples(unittest.TestCase):
    def test_door_welcomes_rejects_and_is_asked_by_ask(self):
        with tempfile.TemporaryDirectory() as folder:
            port = free_port()
            ask = build("ask", port, folder)
            alone = subprocess.run([ask], capture_output=True, text=True, timeout=20)
            self.assertEqual(alone.returncode, 1)
            self.assertIn("refused", alone.stdout.lower())
            with Running(build("door", port, folder), port) as door:
                self.assertEqual(door.ask(b"1"), b"welcome to server!")
                self.assertEqual(door.ask(b"2"), b"please go out!")
                asked = subprocess.run([ask], capture_output=True, text=True, timeout=20)
                self.assertEqual((asked.returncode, asked.stdout),
                                 (0, "answered:\nwelcome to server!\n"))

    def test_echo_lines_answers_pipelined_lines_in_order(self):
        with Running("echo_lines") as echo:
            sent = b"".join(b"line %d\n" % i for i in range(1000))
            self.assertEqual(echo.ask(sent, until=b"line 999\n"), sent)

    def test_counter_counts_on_two_workers_and_stops_on_sigterm(self):
        with Running("counter") as counter:
            seen = set()
            for _ in range(50):
                seen.add(int(counter.ask(b"x\n", until=b"\n")))
            self.assertEqual(seen, set(range(1, 51)))
            counter.process.send_signal(signal.SIGTERM)
            out, _ = counter.process.communicate(timeout=20)
            self.assertEqual((counter.process.returncode, out), (0, "50 lines\n"))

    def test_later_answers_from_its_thread_in_order(self):
        with Running("later") as later:
            self.assertEqual(later.ask(b"one\ntwo\nthree\n", until=b"THREE\n"),
                             b"ONE\nTWO\nTHREE\n")

    def test_own_codec_takes_its_frames_and_nothing_else(self):
        with Running("own_codec") as own:
            self.assertEqual(own.ask(b"<hello><ab", until=b">"), b"<hello to you>")
            self.assertEqual(own.ask(b"hello"), b"")
            self.assertEqual(own.ask(b"<" + b"x" * 200), b"")


class Readme(unittest.TestCase):
    def test_each_c_snippet_stands_in_an_example(self):
        with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as f:
            snippets = re.findall(r"```c\n(.*?)```", f.read(), re.DOTALL)
        self.assertGreaterEqual(len(snippets), 2)
        examples = []
        for name in os.listdir(os.path.join(SOURCE, "examples")):
            if name.endswith(".c"):
                with open(os.path.join(SOURCE, "examples", name), encoding="utf-8") as f:
                    examples.append(f.read())
        for snippet in snippets:
            self.assertTrue(any(snippet in text for text in examples), snippet)


if __name__ == "__main__":
    unittest.main()
