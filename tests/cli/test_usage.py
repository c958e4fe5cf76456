# SPDX-License-Identifier: MIT
"""Wrong command lines, the help, and that the man pages know every option."""
import os
import pty
import re
import shutil
import subprocess
import unittest

from harness import BENCH, CLIENT, HERE, LIMIT, SERVER, TestCase

SOURCE = os.path.join(HERE, "..", "..", "cli")
FRAMINGS = ("raw", "line", "u8", "u16", "u32", "u16le", "u32le", "varint", "netstring", "eof",
            "fixed:", "delimiter:")

# Options -> what the message has to name.
SERVER_ERRORS = [
    (["-l", "127.0.0.1:70000"], "70000"),
    (["-l", "127.0.0.1:80x"], "80x"),
    (["-l", "127.0.0.1:-1"], "-1"),
    (["-l", "127.0.0.1:"], "127.0.0.1:"),
    (["-l", ""], "''"),
    (["-l", "::1:9001"], "::1:9001"),
    (["-l", "[::1"], "[::1"),
    (["-l", "x" * 300 + ":1"], "x" * 300),
    (["-l", "unix:"], "unix:"),
    (["-l", "fd:x"], "fd:x"),
    (["-l", "fd:-1"], "fd:-1"),
    (["-l", "systemd:"], "systemd:"),
    (["--backlog", "0"], "'0'"),
    (["--backlog", "-1"], "'-1'"),
    (["--backlog", "1.5"], "'1.5'"),
    (["--backlog", "99999999999999999999"], "99999999999999999999"),
    (["--workers", ""], "''"),
    (["--workers", "2x"], "'2x'"),
    (["--timeout", "80x"], "'80x'"),
    (["--timeout", "-1"], "'-1'"),
    (["--timeout", ""], "''"),
    (["--timeout", "0"], "'0'"),
    (["--timeout", "0.0"], "'0.0'"),
    (["--timeout", "1e3"], "'1e3'"),
    (["--timeout", " 5"], "' 5'"),
    (["--timeout", "+5"], "'+5'"),
    (["--timeout", "5."], "'5.'"),
    (["--timeout", ".5"], "'.5'"),
    (["--timeout", "1000h"], "'1000h'"),
    (["--timeout", "18446744073709551617"], "'18446744073709551617'"),
    (["--timeout", "nan"], "'nan'"),
    (["--max-request", "0"], "'0'"),
    (["--max-request", "1T"], "'1T'"),
    (["--max-request", "1k"], "'1k'"),
    (["--max-request", "2G"], "'2G'"),
    (["--max-request", "-5"], "'-5'"),
    (["--framing", "morse"], "'morse'"),
    (["--framing", ""], "''"),
    (["--framing", "fixed:0"], "'fixed:0'"),
    (["--framing", "fixed:x"], "'fixed:x'"),
    (["--framing", "delimiter:"], "'delimiter:'"),
    (["--framing", "delimiter:" + "x" * 25], "delimiter:xxx"),
    (["--io", "kqueue"], "'kqueue'"),
    (["--io", ""], "''"),
    (["--io", "auto|epoll"], "'auto|epoll'"),
    (["--io", "auto|io_uring"], "'auto|io_uring'"),
    (["--color", "red"], "'red'"),
    (["--nonsense"], "--nonsense"),
    (["--max"], "--max"),
    (["-x"], "'-x'"),
    (["--once=2"], "--once=2"),
    (["--timeout"], "--timeout"),
    (["-l"], "-l"),
    (["operand"], "operand"),
    (["--accept", "x"] * 65, "--accept"),
]
CLIENT_ERRORS = [
    (["127.0.0.1:70000"], "70000"),
    (["127.0.0.1:80x"], "80x"),
    (["127.0.0.1:0"], "127.0.0.1:0"),
    ([""], "''"),
    (["-1"], "-1"),
    (["::1:9001"], "::1:9001"),
    (["fd:3"], "fd:3"),
    (["systemd:door"], "systemd:door"),
    (["--timeout", "0"], "'0'"),
    (["--delay", "x"], "'x'"),
    (["--delay", "-2"], "'-2'"),
    (["--retry", "x"], "'x'"),
    (["--max-reply", "0"], "'0'"),
    (["--framing", "morse"], "'morse'"),
    (["127.0.0.1:1", "two", "words"], "words"),
    (["--expect"], "--expect"),
]
BENCH_ERRORS = [
    (["127.0.0.1:70000"], "70000"),
    (["127.0.0.1:0"], "127.0.0.1:0"),
    (["fd:3"], "fd:3"),
    (["one", "two"], "one address"),
    (["-c", "x"], "'x'"),
    (["-c", "0"], "'0'"),
    (["-n", "0"], "'0'"),
    (["-d", "0"], "'0'"),
    (["--rate", "0"], "'0'"),
    (["--pipeline", "0"], "'0'"),
    (["--pipeline", "2"], "--pipeline"),
    (["--pipeline", "2", "--framing", "line", "--one-shot"], "--pipeline"),
    (["-c", "1000000", "--framing", "line", "--pipeline", "1000"], "--pipeline"),
    (["--timeout", "never"], "'never'"),
    (["--framing", "morse"], "'morse'"),
    (["--framing", "u8", "--message", "x" * 256], "x" * 256),
    (["--message", ""], "--message"),
    (["--sources", "2", "unix:/nowhere"], "--sources"),
    (["--server-pid", "999999999"], "--server-pid"),
    (["--fail-if", "p99"], "'p99'"),
    (["unix:/" + "x" * 200], "x" * 200),
]


def options_in(text):
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", text))


class UsageTest(TestCase):
    def check(self, program, options, named):
        done = self.run_program(program, *options)
        name = os.path.basename(program)
        self.assertEqual((done.returncode, done.stdout), (2, b""), done.stderr)
        lines = done.stderr.decode().splitlines()
        self.assertTrue(lines[0].startswith(name + ": "), lines)
        self.assertIn(named, lines[0])
        self.assertEqual([line[:6] for line in lines[1:]], ["hint: "] * (len(lines) - 1))

    def test_gate_server_names_what_is_wrong(self):
        for options, named in SERVER_ERRORS:
            with self.subTest(options):
                self.check(SERVER, options, named)

    def test_gate_client_names_what_is_wrong(self):
        for options, named in CLIENT_ERRORS:
            with self.subTest(options):
                self.check(CLIENT, options, named)

    def test_gate_bench_names_what_is_wrong(self):
        for options, named in BENCH_ERRORS:
            with self.subTest(options):
                self.check(BENCH, options, named)

    def test_ipv6_address_without_brackets_has_a_hint(self):
        for argv in ((SERVER, "-l", "::1:9001"), (CLIENT, "::1:9001"), (BENCH, "::1:9001")):
            self.assertIn(b"[::1]:9001", self.run_program(*argv).stderr)

    def test_values_with_units_are_taken(self):
        port = self.server().port
        for value in ("5", "2.5", "0.001", "500ms", "0.1ms", "1m", "596h", "2.5s"):
            done = self.client("--timeout", value, "127.0.0.1:%d" % port)
            self.assertEqual(done.returncode in (0, 5), True, (value, done.stderr))
        for value in ("1", "64K", "16M", "1G"):
            done = self.client("--max-reply", value, "127.0.0.1:%d" % port)
            self.assertEqual(done.returncode, 6 if value == "1" else 0, value)

    def test_unknown_backend_in_the_environment_is_a_warning(self):
        server = self.server(env={**os.environ, "GATE_IO": "kqueue"})
        self.assertEqual(self.ask(server, b"1"), b"welcome to server!")
        self.assertEqual(server.stop(), 0)
        self.assertIn("GATE_IO is ignored", server.err.all())

    def test_environment_does_not_change_a_backend_that_was_asked_for(self):
        server = self.server("--io", "epoll", env={**os.environ, "GATE_IO": "kqueue"})
        self.assertEqual(self.ask(server, b"1"), b"welcome to server!")
        self.assertEqual(server.stop(), 0)
        self.assertNotIn("GATE_IO", server.err.all())

    def test_never_is_a_time_of_the_server(self):
        for option in ("--timeout", "--idle-timeout", "--write-timeout", "--drain-timeout"):
            self.assertEqual(self.ask(self.server(option, "never"), b"1"), b"welcome to server!")

    def test_last_value_counts(self):
        server = self.server("--welcome", "a", "--welcome=b")
        self.assertEqual(self.ask(server, b"1"), b"b")


class ColorTest(TestCase):
    def error(self, *options, terminal=False, **environment):
        """What a wrong command line prints, on a pipe or on a terminal."""
        env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
        env.update(environment)
        argv = [SERVER, *options, "--nonsense"]
        if not terminal:
            return subprocess.run(argv, env=env, stderr=subprocess.PIPE, timeout=LIMIT,
                                  check=False).stderr
        master, slave = pty.openpty()
        subprocess.run(argv, env=env, stderr=slave, timeout=LIMIT, check=False)
        os.close(slave)
        with os.fdopen(master, "rb", buffering=0) as shown:
            return shown.read(4096)

    def test_color_is_for_terminals(self):
        self.assertIn(b"\x1b[", self.error(terminal=True, TERM="xterm"))
        self.assertNotIn(b"\x1b[", self.error(TERM="xterm"))

    def test_no_color_and_a_dumb_terminal_are_plain(self):
        self.assertNotIn(b"\x1b[", self.error(terminal=True, TERM="xterm", NO_COLOR="1"))
        self.assertNotIn(b"\x1b[", self.error(terminal=True, TERM="dumb"))

    def test_option_goes_first(self):
        self.assertIn(b"\x1b[", self.error("--color", "always", NO_COLOR="1"))
        self.assertNotIn(b"\x1b[", self.error("--color=never", terminal=True, TERM="xterm"))


class HelpTest(TestCase):
    PROGRAMS = (SERVER, CLIENT, BENCH)

    def text(self, program, option):
        done = self.run_program(program, option)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout.decode()

    def man(self, program):
        return os.path.join(SOURCE, os.path.basename(program) + ".1")

    def table(self, program):
        """The names in the program's option table, and in the part that all programs share."""
        names = set()
        for path in (os.path.join(SOURCE, os.path.basename(program) + ".c"),
                     os.path.join(SOURCE, "args.h")):
            with open(path, encoding="utf-8") as file:
                names |= set(re.findall(r'\.name = "([a-z-]+)"', file.read()))
        return names

    def test_short_help_is_short_and_starts_with_examples(self):
        for program in self.PROGRAMS:
            lines = self.text(program, "-h").splitlines()
            self.assertLessEqual(len(lines), 14)
            self.assertEqual(lines[0], "Examples:")
            self.assertLessEqual(max(map(len, lines)), 80)

    def test_short_help_names_real_options(self):
        for program in self.PROGRAMS:
            self.assertLessEqual(options_in(self.text(program, "-h")), self.table(program))

    def test_help_has_every_option_of_the_table(self):
        for program in self.PROGRAMS:
            text = self.text(program, "--help")
            self.assertGreater(len(self.table(program)), 10)
            self.assertEqual(options_in(text), self.table(program))
            self.assertLessEqual(max(map(len, text.splitlines())), 90)

    def test_man_page_has_every_option_of_the_table_and_no_other(self):
        for program in self.PROGRAMS:
            with open(self.man(program), encoding="utf-8") as file:
                page = file.read()
            listed = set(re.findall(r"^\.It .*Fl -([a-z][a-z-]*)", page, re.M))
            self.assertEqual(listed, self.table(program))
            self.assertLessEqual(set(re.findall(r"Fl -([a-z][a-z-]*)", page)), listed)

    def test_man_page_has_every_framing(self):
        for program in self.PROGRAMS:
            with open(self.man(program), encoding="utf-8") as file:
                page = file.read()
            for name in FRAMINGS:
                self.assertIn(name, page)

    def test_man_page_is_well_formed(self):
        for program in self.PROGRAMS:
            self.assertIsNotNone(shutil.which("mandoc"), "mandoc is needed")
            done = self.run_program("mandoc", "-T", "lint", "-W", "warning", self.man(program))
            self.assertEqual((done.returncode, done.stdout), (0, b""))

    def test_version(self):
        for program in self.PROGRAMS:
            for option in ("-V", "--version"):
                self.assertRegex(self.text(program, option),
                                 r"^%s \d+\.\d+\.\d+\n$" % os.path.basename(program))

    def test_help_that_cannot_be_written_is_a_local_error(self):
        for program in self.PROGRAMS:
            with open("/dev/full", "wb") as full:
                self.assertEqual(self.run_program(program, "--help", stdout=full).returncode, 8)


if __name__ == "__main__":
    unittest.main()
