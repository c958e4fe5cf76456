# SPDX-License-Identifier: MIT
"""gate-server --user and --sandbox: what the running server is, and that it serves as ever."""
import errno
import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import unittest

from harness import LIMIT, REJECT, SERVER, WELCOME, Process, TestCase, read_all, talk, wait_until

# Starts argv where a system call fails with an errno.
REFUSING = """
import ctypes, os, sys
lib = ctypes.CDLL("libseccomp.so.2")
lib.seccomp_init.restype = ctypes.c_void_p
filter = ctypes.c_void_p(lib.seccomp_init(0x7fff0000))
call = lib.seccomp_syscall_resolve_name(sys.argv[2].encode())
assert lib.seccomp_rule_add(filter, 0x50000 | int(sys.argv[1]), call, 0) == 0
assert lib.seccomp_load(filter) == 0
os.execv(sys.argv[3], sys.argv[3:])
"""

IS_ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam("nobody")
BIG = "x" * 100000


def status(pid):
    """The lines of /proc/PID/status."""
    with open("/proc/%d/status" % pid, encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def links(pid):
    """What each descriptor of a process leads to."""
    folder = "/proc/%d/fd" % pid
    return {int(fd): os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder)
            if os.path.lexists(os.path.join(folder, fd))}


def threads(pid):
    """The status of each thread."""
    return [status(int(thread)) for thread in os.listdir("/proc/%d/task" % pid)]


def numbers(text):
    return [int(word) for word in text.split()]


def public_server(test):
    """A copy of gate-server that every user may start, wherever the original lies."""
    folder = test.folder()
    os.chmod(folder, 0o755)
    program = os.path.join(folder, "cli/gate-server")
    os.mkdir(os.path.dirname(program), 0o755)
    shutil.copy(SERVER, program)
    for library in glob.glob(os.path.join(os.path.dirname(SERVER), "../libgate.so.*")):
        shutil.copy(library, folder)
    return program


class UserTest(TestCase):
    def test_unknown_user_or_group_is_a_wrong_command_line(self):
        for text in ("no-such-user", "nobody:no-such-group", "", ":", "nobody:", "-1", "4294967295",
                     "99999999999999999999", "x" * 300, "65533x"):
            done = self.fail_server("-l", "127.0.0.1:0", "--user=" + text)
            self.assertEqual(done.returncode, 2, text)
            self.assertIn(b"--user: there is no ", done.stderr)

    def test_superuser_is_refused(self):
        for text in ("root", "0", "00", "root:nogroup"):
            done = self.fail_server("-l", "127.0.0.1:0", "--user", text)
            self.assertEqual(done.returncode, 2, text)
            self.assertIn(b"superuser", done.stderr)

    def test_number_without_a_group_needs_one(self):
        done = self.fail_server("-l", "127.0.0.1:0", "--user", "4294967000")
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"hint: write --user 4294967000:GROUP", done.stderr)

    def test_only_root_becomes_somebody_else(self):
        argv = [public_server(self), "-l", "127.0.0.1:0", "--user", "nobody"]
        if IS_ROOT:
            argv = ["setpriv", "--reuid", str(NOBODY.pw_uid), "--regid", str(NOBODY.pw_gid),
                    "--clear-groups"] + argv
        done = self.run_program(*argv)
        self.assertEqual(done.returncode, 8)
        self.assertIn(b"Operation not permitted\nhint: only root", done.stderr)
        self.assertNotIn(b"listening on", done.stderr)


@unittest.skipUnless(IS_ROOT, "only root becomes somebody else")
class RootTest(TestCase):
    def check_is(self, server, uid, gid):
        found = status(server.process.pid)
        self.assertEqual(numbers(found["Uid"]), [uid] * 4)
        self.assertEqual(numbers(found["Gid"]), [gid] * 4)
        self.assertEqual(found["Groups"].strip(), "")
        for name in ("CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(found[name], 16), 0, name)

    def test_user_is_become_by_name_and_by_number(self):
        for text, gid in (("nobody", NOBODY.pw_gid), (str(NOBODY.pw_uid), NOBODY.pw_gid),
                          ("nobody:daemon", 1), ("nobody:12345", 12345),
                          ("%d:daemon" % NOBODY.pw_uid, 1)):
            server = self.server("--user", text)
            self.check_is(server, NOBODY.pw_uid, gid)
            self.assertEqual(self.ask(server, b"1"), WELCOME)
            self.assertEqual(server.stop(), 0)

    def test_port_of_root_is_bound_before(self):
        # In a network of its own, where port 1 is free.
        inner = ("import sys; from harness import *\n"
                 "server = Process([SERVER, '-l', '127.0.0.1:1', '--user', 'nobody'])\n"
                 "sock = socket.create_connection(('127.0.0.1', 1), LIMIT)\n"
                 "print(talk(sock, b'1').decode(), server.stop())\n")
        done = self.run_program("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh",
                                sys.executable, "-B", "-c", inner)
        self.assertEqual(done.stdout.decode(), "%s 0\n" % WELCOME.decode(), done.stderr)

    def test_capabilities_that_would_be_a_way_back_are_refused(self):
        done = self.run_program(
            "setpriv", "--reuid", str(NOBODY.pw_uid), "--clear-groups", "--inh-caps",
            "+setuid,+setgid", "--ambient-caps", "+setuid,+setgid", public_server(self), "-l",
            "127.0.0.1:0", "--user", "daemon")
        self.assertEqual(done.returncode, 8, done.stderr)
        self.assertIn(b"way back", done.stderr)

    def test_sandbox_and_user_together(self):
        server = self.server("--user", "nobody", "--sandbox", "--workers", "2")
        self.check_is(server, NOBODY.pw_uid, NOBODY.pw_gid)
        for found in threads(server.process.pid):
            self.assertEqual((found["Seccomp"], found["NoNewPrivs"]), ("2", "1"))
            self.assertEqual(numbers(found["Uid"]), [NOBODY.pw_uid] * 4)
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)

    def test_socket_file_that_the_user_may_remove_is_removed(self):
        folder = self.folder()
        os.chmod(folder, 0o755)
        for owner, left in ((NOBODY.pw_uid, False), (0, True)):
            os.chown(folder, owner, -1)
            path = os.path.join(folder, "door")
            server = self.server("--user", "nobody", "--sandbox", listen="unix:" + path)
            self.assertEqual(self.ask(path, b"1"), WELCOME)
            self.assertEqual(server.stop(), 0)
            self.assertEqual(os.path.exists(path), left)


@unittest.skipUnless(os.environ["GATE_HAVE_SANDBOX"] == "ON", "this build has no sandbox")
class SandboxTest(TestCase):
    def sandboxed(self, *options, **more):
        return self.server("--sandbox", *options, **more)

    def test_running_server_is_confined(self):
        server = self.sandboxed("--workers", "3")
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        wait_until(lambda: len(threads(server.process.pid)) >= 3, "the workers run")
        for found in threads(server.process.pid):
            self.assertEqual((found["Seccomp"], found["NoNewPrivs"]), ("2", "1"))
            self.assertEqual(int(found["CapEff"], 16), 0)

    def test_without_it_nothing_is_given_up(self):
        found = status(self.server().process.pid)
        self.assertEqual((found["Seccomp"], found["NoNewPrivs"]), (status(os.getpid())["Seccomp"],
                                                                  "0"))

    def test_it_serves_many_exchanges_of_many_kinds(self):
        server = self.sandboxed("--framing", "line", "--workers", "2", "--welcome", BIG,
                                "--timeout", "1s", "--backlog", "64", "--json", "-v")
        for _ in range(20):
            socks = [self.connect(server) for _ in range(20)]
            for sock in socks:
                sock.sendall(b"1\n1\n2\n")
            for sock in socks:
                self.assertEqual(read_all(sock), (BIG.encode() + b"\n") * 2 + REJECT + b"\n")
                sock.close()
        self.assertEqual(self.ask(server, b""), b"")
        self.assertEqual(server.stop(), 0)
        stats = json.loads(server.out.all())["stats"]
        self.assertEqual((stats["requests"], stats["closed"]["timeout"]), (1200, 1))
        self.assertEqual(len(server.err.wait("rejected")), 400)

    def test_output_may_be_a_file(self):
        path = os.path.join(self.folder(), "out")
        with open(path, "wb") as out:
            server = self.sandboxed("--timeout", "50ms", stdout=out)
        self.assertEqual(self.ask(server, b""), b"")
        wait_until(lambda: os.path.getsize(path) > 0, "the time-out is told")
        self.assertEqual(server.stop(), 0)
        with open(path, "rb") as out:
            self.assertEqual(out.read(), b"time out\n")

    def test_all_kinds_of_listeners_serve_and_end(self):
        path = os.path.join(self.folder(), "door")
        name = "gate-rights-%d" % os.getpid()
        passed = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(passed.close)
        server = self.sandboxed("-l", "unix:" + path, "-l", "unix:@" + name, "-l",
                                "fd:%d" % passed.fileno(), "--workers", "2", listeners=4,
                                pass_fds=(passed.fileno(),))
        for where in (server, path, "\0" + name, passed.getsockname()):
            self.assertEqual(self.ask(where, b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)
        self.assertFalse(os.path.exists(path))

    def test_socket_in_the_working_folder_is_removed(self):
        folder = self.folder()
        server = self.sandboxed(listen="unix:door", cwd=folder)
        self.assertEqual(self.ask(os.path.join(folder, "door"), b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)
        self.assertEqual(os.listdir(folder), [])

    def test_reply_that_was_cut_ends_with_a_reset(self):
        passed = socket.socket()
        self.addCleanup(passed.close)
        passed.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        passed.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        passed.bind(("127.0.0.1", 0))
        passed.listen()
        server = self.sandboxed("--welcome", BIG, "--write-timeout", "50ms", "-v",
                                listen="fd:%d" % passed.fileno(), pass_fds=(passed.fileno(),))
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.settimeout(LIMIT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(passed.getsockname())
        sock.sendall(b"1")
        server.err.wait("write_timeout")
        with self.assertRaises(ConnectionResetError):
            read_all(sock)
        self.assertEqual(server.stop(), 0)

    def test_request_that_is_being_read_is_answered_after_a_signal(self):
        server = self.sandboxed("--framing", "line", "--workers", "2")
        sock = self.connect(server)
        sock.sendall(b"1\n")
        self.wait_readable(sock)
        sock.recv(100)
        sock.sendall(b"1")
        server.signal()
        self.wait_refused(server.port)
        self.assertIn(self.rest(sock), (b"", WELCOME + b"\n"))
        self.assertEqual(server.wait(), 0)

    def rest(self, sock):
        """A signal may come before the byte: then the idle connection is closed."""
        try:
            return talk(sock, b"\n")
        except ConnectionError:
            return b""

    def test_second_signal_ends_it_at_once(self):
        server = self.sandboxed("--timeout", "never")
        self.connect(server)
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        server.signal()
        self.wait_refused(server.port)
        server.signal()
        self.assertEqual(server.wait(), -signal.SIGTERM)

    def test_stopped_and_continued_it_goes_on(self):
        server = self.sandboxed("--workers", "2", "--timeout", "1s")
        silent = self.connect(server)
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        server.signal(signal.SIGSTOP)
        server.signal(signal.SIGCONT)
        self.assertEqual(read_all(silent), b"")
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)

    def test_once_ends_it(self):
        server = self.sandboxed("--once", "--workers", "3")
        self.assertEqual(self.ask(server, b"2"), REJECT)
        self.assertEqual(server.wait(), 1)

    def refusing(self, error, call="landlock_create_ruleset"):
        return [sys.executable, "-c", REFUSING, str(error), call, SERVER, "-l", "127.0.0.1:0",
                "--sandbox"]

    def test_kernel_without_landlock_is_a_warning(self):
        for error in (errno.ENOSYS, errno.EOPNOTSUPP):
            server = self.keep(Process(self.refusing(error)))
            server.err.wait("gate-server: warning: this kernel has no Landlock")
            self.assertEqual(self.ask(server, b"1"), WELCOME)
            self.assertEqual(server.stop(), 0)

    def test_landlock_that_is_forbidden_is_an_error(self):
        done = self.run_program(*self.refusing(errno.EPERM))
        self.assertEqual(done.returncode, 8)
        self.assertIn(b"--sandbox: Landlock is unavailable: Operation not permitted", done.stderr)

    def test_calls_that_serving_takes_and_that_fail_are_told_at_the_start(self):
        for call in ("recvfrom", "accept4", "getpeername", "shutdown"):
            done = self.run_program(*self.refusing(errno.EPERM, call))
            self.assertEqual(done.returncode, 8, call)
            self.assertIn(b"--sandbox: ", done.stderr)
            self.assertIn(call[:4].encode(), done.stderr)
            self.assertNotIn(b"listening on", done.stderr)

    def test_descriptors_of_the_start_are_closed_but_listeners(self):
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream = socket.socket()
        file = open(__file__, "rb")
        listener = socket.create_server(("127.0.0.1", 0))
        for thing in (datagrams, stream, file, listener):
            self.addCleanup(thing.close)
        passed = [thing.fileno() for thing in (datagrams, stream, file, listener)]
        server = self.sandboxed("-l", "fd:%d" % passed[3], listeners=2, pass_fds=passed)
        left = set(links(server.process.pid).values())
        ours = links(os.getpid())
        self.assertFalse(left & {ours[fd] for fd in passed[:3]})
        self.assertIn(ours[passed[3]], left)
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(self.ask(listener.getsockname(), b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)

    def test_standard_output_that_could_send_anywhere_becomes_the_null_device(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            server = self.sandboxed(stdout=datagrams.fileno())
        self.assertEqual(os.readlink("/proc/%d/fd/1" % server.process.pid), "/dev/null")
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)

    def test_address_that_is_taken_is_told_as_ever(self):
        done = self.fail_server("-l", "127.0.0.1:%d" % self.server().port, "--sandbox")
        self.assertEqual(done.returncode, 4)

    def test_lack_of_descriptors_is_survived(self):
        server = self.sandboxed("--framing", "line")
        limit = len(os.listdir("/proc/%d/fd" % server.process.pid)) + 2
        subprocess.run(["prlimit", "--pid", str(server.process.pid), "--nofile=%d" % limit],
                       check=True, timeout=LIMIT)
        socks = [self.connect(server) for _ in range(4)]
        for sock in socks:
            sock.sendall(b"2\n")
        for sock in socks:
            self.assertEqual(read_all(sock), REJECT + b"\n")
            sock.close()
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
