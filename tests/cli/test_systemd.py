# SPDX-License-Identifier: MIT
"""The units for systemd, as they are installed, with the socket that systemd would pass on."""
import os
import re
import shlex
import shutil
import subprocess
import unittest

from harness import LIMIT, REJECT, SERVER, SERVER_OPTIONS, WELCOME, TestCase, wait_until

UNITS = os.path.join(os.environ["GATE_BUILD"], "units")


def fields(unit):
    """Each assignment of a unit; none stands twice."""
    with open(os.path.join(UNITS, unit), encoding="ascii") as file:
        return dict(re.findall(r"^([A-Za-z]+)=(.*)$", file.read(), flags=re.M))


class SystemdTest(TestCase):
    def test_service_serves_the_port_of_its_socket_unit(self):
        command = shlex.split(fields("gate-server.service")["ExecStart"])
        self.assertEqual(os.path.basename(command[0]), "gate-server")
        path = os.path.join(self.folder(), "door")
        process = subprocess.Popen(
            ["systemd-socket-activate", "-l", path,
             "--fdname=" + fields("gate-server.socket")["FileDescriptorName"],
             SERVER, *SERVER_OPTIONS, *command[1:]], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait, LIMIT)
        self.addCleanup(process.kill)
        wait_until(lambda: self.answers(path), "the server answers")
        self.assertEqual(self.ask(path, b"2"), REJECT)
        process.terminate()
        self.assertEqual(process.wait(LIMIT), 0)

    def answers(self, path):
        """The file is there a moment before anything listens on it."""
        try:
            return self.ask(path, b"1") == WELCOME
        except OSError:
            return False

    @unittest.skipUnless(shutil.which("systemd-analyze"), "there is no systemd-analyze")
    def test_units_are_well_formed(self):
        folder = self.folder()
        for unit in ("gate-server.socket", "gate-server.service"):
            with open(os.path.join(UNITS, unit), encoding="ascii") as file:
                text = re.sub(r"^ExecStart=\S+", "ExecStart=" + SERVER, file.read(), flags=re.M)
            with open(os.path.join(folder, unit), "w", encoding="ascii") as file:
                file.write(text.replace("Documentation=man:gate-server(1)\n", ""))
        done = self.run_program("systemd-analyze", "verify",
                                os.path.join(folder, "gate-server.service"),
                                env=dict(os.environ, SYSTEMD_UNIT_PATH=folder + ":"))
        said = [line for line in done.stderr.decode().splitlines() if "gate-server" in line]
        self.assertEqual(said, [])


if __name__ == "__main__":
    unittest.main()
