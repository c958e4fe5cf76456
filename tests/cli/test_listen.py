# SPDX-License-Identifier: MIT
"""Where gate-server listens: what works, and what it says where it does not."""
import ctypes
import os
import socket
import stat
import sys
import unittest

from harness import CLIENT, SERVER, WELCOME, Process, TestCase, alone

PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE = 24, 10

# Starts argv with descriptors from 3 on and the service manager's environment.
SYSTEMD_START = """
import os, sys
names, pid, fds = sys.argv[1], sys.argv[2], [int(fd) for fd in sys.argv[3].split(",")]
high = [os.dup(os.dup(os.dup(fd))) for fd in fds]
kept = [os.dup2(fd, 100 + at) for at, fd in enumerate(high)]
for at, fd in enumerate(kept):
    os.dup2(fd, 3 + at)
os.environ["LISTEN_FDS"] = os.environ.pop("FDS", str(len(fds)))
os.environ["LISTEN_PID"] = pid.replace("PID", str(os.getpid()))
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execv(sys.argv[4], sys.argv[4:])
"""


def drop_bind_capability():
    """No effect on those who do not have it."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE, 0, 0, 0)


class ErrorTest(TestCase):
    def test_busy_port_says_who_and_what_next(self):
        port = self.server().port
        done = self.fail_server("-l", "127.0.0.1:%d" % port)
        self.assertEqual(done.returncode, 4)
        self.assertEqual(
            done.stderr.decode(),
            "gate-server: cannot listen on 127.0.0.1:%d: address in use\n"
            "hint: ss -ltnp 'sport = :%d' shows who has it, or choose -l :0\n" % (port, port))

    def test_busy_port_of_several_workers_is_refused_too(self):
        port = self.server("--workers", "2").port
        done = self.fail_server("-l", "127.0.0.1:%d" % port, "--workers", "2")
        self.assertEqual(done.returncode, 4)

    def test_unknown_host_is_a_resolve_error(self):
        done = self.run_program(*alone(SERVER, "-l", "name.invalid:0"))
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"cannot listen on name.invalid:0: ", done.stderr)
        self.assertIn(b"hint: ", done.stderr)

    def test_foreign_address_is_refused_with_a_hint(self):
        done = self.fail_server("-l", "192.0.2.1:0")
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"cannot listen on 192.0.2.1:0: ", done.stderr)
        self.assertIn(b"hint: this machine has no such address", done.stderr)

    def test_privileged_port_is_refused_with_a_hint(self):
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
            self.assertGreater(int(file.read()), 1, "every port is free for everybody here")
        done = self.fail_server("-l", "127.0.0.1:1", preexec_fn=drop_bind_capability)
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"cannot listen on 127.0.0.1:1: Permission denied", done.stderr)
        self.assertIn(b"CAP_NET_BIND_SERVICE", done.stderr)

    def test_no_listening_line_when_one_of_two_fails(self):
        done = self.fail_server("-l", "127.0.0.1:0", "-l", "192.0.2.1:1")
        self.assertEqual(done.returncode, 4)
        self.assertNotIn(b"listening on", done.stderr)

    def test_second_port_zero_is_refused_since_nobody_could_learn_it(self):
        done = self.fail_server("-l", "127.0.0.1:0", "-l", "[::1]:0")
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"port 0", done.stderr)


class TcpTest(TestCase):
    def test_ipv6_in_brackets(self):
        server = self.server(listen="[::1]:0")
        self.assertEqual(server.listening, ["[::1]:%d" % server.port])
        self.assertEqual(self.ask(("::1", server.port), b"1"), WELCOME)
        done = self.client("[::1]:%d" % server.port)
        self.assertEqual(done.stdout, WELCOME)

    def test_no_host_means_both_families(self):
        for listen in (":0", "*:0"):
            server = self.server(listen=listen)
            self.assertEqual(self.ask(("::1", server.port), b"1"), WELCOME)
            self.assertEqual(self.ask(("127.0.0.1", server.port), b"1"), WELCOME)

    def test_name_of_this_machine(self):
        server = self.server(listen="localhost:0")
        done = self.client("localhost:%d" % server.port)
        self.assertEqual(done.stdout, WELCOME)

    def test_client_without_a_host_asks_this_machine(self):
        server = self.server()
        self.assertEqual(self.client(":%d" % server.port).stdout, WELCOME)

    def test_several_addresses_have_a_line_each(self):
        path = os.path.join(self.folder(), "door")
        server = self.server("-l", "unix:" + path, listeners=2)
        self.assertEqual(server.listening, ["127.0.0.1:%d" % server.port, "unix:" + path])
        self.assertEqual(self.ask(server, b"1"), WELCOME)
        self.assertEqual(self.ask(path, b"1"), WELCOME)

    def test_port_zero_after_a_unix_socket_is_told(self):
        path = os.path.join(self.folder(), "door")
        server = self.server("-l", "127.0.0.1:0", listen="unix:" + path, listeners=2)
        port = int(server.listening[1].rpartition(":")[2])
        self.assertEqual(self.ask(("127.0.0.1", port), b"1"), WELCOME)

    def test_port_is_free_again_after_the_end(self):
        port = self.server().port
        first = self.server()
        self.ask(first, b"1")
        self.assertEqual(first.stop(), 0)
        again = self.server(listen="127.0.0.1:%d" % first.port)
        self.assertNotEqual(again.port, port)
        self.assertEqual(self.ask(again, b"1"), WELCOME)


class UnixTest(TestCase):
    def test_path_serves_and_is_removed_at_the_end(self):
        path = os.path.join(self.folder(), "door")
        server = self.server(listen="unix:" + path)
        self.assertTrue(stat.S_ISSOCK(os.stat(path).st_mode))
        self.assertEqual(self.ask(path, b"1"), WELCOME)
        self.assertEqual(self.client("unix:" + path).stdout, WELCOME)
        self.assertEqual(server.stop(), 0)
        self.assertFalse(os.path.exists(path))

    def test_abstract_name_serves(self):
        name = "gate-test-%d" % os.getpid()
        server = self.server(listen="unix:@" + name)
        self.assertEqual(server.listening, ["unix:@" + name])
        self.assertEqual(self.ask("\0" + name, b"1"), WELCOME)
        self.assertEqual(self.client("unix:@" + name).stdout, WELCOME)

    def test_file_of_a_dead_server_is_replaced(self):
        path = os.path.join(self.folder(), "door")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        server = self.server(listen="unix:" + path)
        self.assertEqual(self.ask(path, b"1"), WELCOME)
        self.assertEqual(server.stop(), 0)

    def test_file_of_a_live_server_is_left_alone(self):
        path = os.path.join(self.folder(), "door")
        self.server(listen="unix:" + path)
        done = self.fail_server("-l", "unix:" + path)
        self.assertEqual(done.returncode, 4)
        self.assertIn("cannot listen on unix:%s: address in use" % path, done.stderr.decode())
        self.assertEqual(self.ask(path, b"1"), WELCOME)

    def test_file_that_is_no_socket_is_left_alone(self):
        path = os.path.join(self.folder(), "door")
        with open(path, "w", encoding="ascii") as file:
            file.write("mine")
        done = self.fail_server("-l", "unix:" + path)
        self.assertEqual(done.returncode, 4)
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), "mine")

    def test_folder_that_is_missing(self):
        done = self.fail_server("-l", "unix:" + os.path.join(self.folder(), "none", "door"))
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"No such file or directory", done.stderr)

    def test_path_that_is_too_long_is_refused(self):
        done = self.fail_server("-l", "unix:/" + "x" * 200)
        self.assertEqual(done.returncode, 2)


class InheritedTest(TestCase):
    def listener(self):
        sock = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(sock.close)
        return sock

    def test_inherited_descriptor_serves(self):
        sock = self.listener()
        server = self.server(listen="fd:%d" % sock.fileno(), pass_fds=(sock.fileno(),))
        self.assertEqual(server.listening, ["fd:%d" % sock.fileno()])
        self.assertEqual(self.ask(sock.getsockname(), b"1"), WELCOME)

    def test_descriptor_that_is_no_listener_is_refused(self):
        plain = socket.socket()
        self.addCleanup(plain.close)
        done = self.fail_server("-l", "fd:%d" % plain.fileno(), pass_fds=(plain.fileno(),))
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"listening stream socket", done.stderr)

    def test_whatever_it_cannot_listen_on_exits_with_4(self):
        folder = self.folder()
        file = os.path.join(folder, "file")
        open(file, "w").close()
        taken = self.listener()
        for address in ("fd:99", "fd:0", "systemd:none", "unix:" + folder, "unix:" + file,
                        "unix:/nonsense/door", "192.0.2.1:1",
                        "127.0.0.1:%d" % taken.getsockname()[1]):
            done = self.fail_server("-l", address)
            self.assertEqual(done.returncode, 4, (address, done.stderr))
            self.assertIn(b"cannot listen on " + address.encode(), done.stderr)

    def test_descriptor_that_is_closed_is_named(self):
        done = self.fail_server("-l", "fd:99")
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"cannot listen on fd:99: ", done.stderr)

    def systemd(self, names, socks, *options, pid="PID"):
        fds = [sock.fileno() for sock in socks]
        argv = [sys.executable, "-c", SYSTEMD_START, names, pid, ",".join(map(str, fds)), SERVER]
        return argv + list(options), tuple(fds)

    def test_systemd_sockets_are_found_by_name(self):
        other, mine, too = self.listener(), self.listener(), self.listener()
        argv, fds = self.systemd("other:door:door", (other, mine, too), "-l", "systemd:door")
        server = self.keep(Process(argv, pass_fds=fds))
        self.assertEqual(server.listening, ["systemd:door"])
        self.assertEqual(self.ask(mine.getsockname(), b"1"), WELCOME)
        self.assertEqual(self.ask(too.getsockname(), b"1"), WELCOME)

    def test_systemd_sockets_without_names_are_unknown(self):
        mine = self.listener()
        argv, fds = self.systemd("", (mine,), "-l", "systemd:unknown")
        self.keep(Process(argv, pass_fds=fds))
        self.assertEqual(self.ask(mine.getsockname(), b"1"), WELCOME)

    def test_systemd_name_that_was_not_passed_is_refused(self):
        argv, fds = self.systemd("door", (self.listener(),), "-l", "systemd:gate")
        done = self.run_program(*argv, pass_fds=fds)
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"cannot listen on systemd:gate", done.stderr)
        self.assertIn(b"LISTEN_FDNAMES", done.stderr)

    def test_systemd_sockets_of_another_process_are_not_taken(self):
        argv, fds = self.systemd("door", (self.listener(),), "-l", "systemd:door", pid="1")
        self.assertEqual(self.run_program(*argv, pass_fds=fds).returncode, 4)

    def test_systemd_environment_has_one_grammar(self):
        sock = self.listener()
        wrong = [{"pid": pid} for pid in ("", " PID", "+PID", "0PID", "PIDx", "PID ", "9" * 20)]
        wrong += [{"fds": fds} for fds in ("", "0", "01", "-1", " 1", "+1", "1x", "0x1", "4097",
                                           "2147483647", "4294967297", "18446744073709551617")]
        wrong += [{"names": names} for names in ("door:door", "door:", ":door", "doorx")]
        for case in wrong:
            argv, fds = self.systemd(case.get("names", "door"), (sock,), "-l", "systemd:door",
                                     pid=case.get("pid", "PID"))
            done = self.run_program(*argv, pass_fds=fds,
                                    env={**os.environ, "FDS": case.get("fds", "1")})
            self.assertEqual(done.returncode, 4, case)
            self.assertIn(b"LISTEN_FDNAMES", done.stderr)

    def test_systemd_socket_that_is_not_open_is_an_error(self):
        argv, fds = self.systemd("a:b:c:d:door", (self.listener(),), "-l", "systemd:door")
        done = self.run_program(*argv, pass_fds=fds, env={**os.environ, "FDS": "5"})
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"cannot listen on systemd:door: ", done.stderr)

    def test_closed_standard_descriptors_are_never_sockets(self):
        start = 'exec "$@" <&- >&-'
        server = self.keep(Process(["sh", "-c", start, "sh", SERVER, "-l", "127.0.0.1:0"]))
        for fd in (0, 1):
            self.assertEqual(os.readlink("/proc/%d/fd/%d" % (server.process.pid, fd)), "/dev/null")
        self.assertEqual(self.ask(server, b"1"), WELCOME)

    def test_client_with_closed_streams_keeps_its_socket_apart(self):
        seen = []

        def serve(connection):
            seen.append(connection.recv(100))
            connection.sendall(b"reply")
            connection.shutdown(socket.SHUT_WR)
            seen.append(connection.recv(100))

        peer = self.peer(serve)
        done = self.run_program("sh", "-c", 'exec "$@" <&- 2>&-', "sh", CLIENT,
                                "--timing", peer.address)
        peer.thread.join()
        self.assertEqual((seen, done.returncode), ([b"1", b""], 0))


if __name__ == "__main__":
    unittest.main()
