# SPDX-License-Identifier: MIT
"""What configuring finds, and on which machine it looks for it."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ["GATE_SOURCE"])
CROSS = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=other"]
MISSING = "finds no liburing"


class Configure(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.temp = Path(holder.name)

    def configure(self, *options, **environment):
        """What CMake says in a folder of its own."""
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith("PKG_CONFIG")}
        done = subprocess.run(
            ["cmake", "-S", SOURCE, "-B", self.temp / "build", "-DGATE_TESTS=OFF",
             "-DGATE_PROGRAMS=OFF", "-DGATE_EXAMPLES=OFF",
             f"-DCMAKE_C_COMPILER={os.environ['CC']}", *options],
            env={**inherited, **environment}, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240)
        # CMake folds its messages.
        return done.returncode == 0, " ".join(done.stdout.split())

    def script(self, *lines):
        """A pkg-config of ours, that notes that it was asked."""
        path = self.temp / "our-pkg-config"
        path.write_text("\n".join(["#!/bin/sh", f"echo $* >>'{self.temp}/asked'", *lines, ""]))
        path.chmod(0o755)
        return path

    def asked(self):
        path = self.temp / "asked"
        return path.read_text() if path.exists() else ""

    def test_pkg_config_that_was_named_is_asked(self):
        path = self.script("exit 1")
        for options, environment in (([f"-DPKG_CONFIG_EXECUTABLE={path}"], {}),
                                     ([f"-DGATE_PKG_CONFIG={path}"], {}),
                                     ([], {"PKG_CONFIG": str(path)})):
            configured, said = self.configure("-DGATE_URING=ON", *options, **environment)
            self.assertFalse(configured)
            self.assertIn(MISSING, said)
            self.assertIn("liburing", self.asked())
            (self.temp / "asked").unlink()
            (self.temp / "build/CMakeCache.txt").unlink()

    def test_cross_build_asks_for_libraries_of_the_target_only(self):
        self.script("exit 0").rename(self.temp / "pkg-config")
        path = f"{self.temp}:{os.environ['PATH']}"
        self.assertTrue(self.configure(*CROSS, PATH=path)[0])
        self.assertEqual(self.asked(), "")
        (self.temp / "build/CMakeCache.txt").unlink()
        self.assertTrue(self.configure(*CROSS, PATH=path, PKG_CONFIG_LIBDIR="/nowhere")[0])
        self.assertIn("liburing", self.asked())

    def test_library_that_the_compiler_cannot_link_is_not_there(self):
        path = self.script("echo -lof-another-machine")
        configured, said = self.configure("-DGATE_URING=ON", f"-DPKG_CONFIG_EXECUTABLE={path}")
        self.assertFalse(configured)
        self.assertIn(MISSING, said)
        configured, said = self.configure("-DGATE_URING=AUTO", f"-DPKG_CONFIG_EXECUTABLE={path}")
        self.assertTrue(configured, said)

    def test_machine_without_atomic_integers_links_libatomic(self):
        configured, said = self.configure("-DGATE_LINKS_ATOMICS=OFF")
        self.assertTrue(configured, said)
        text = (self.temp / "build/pc/usr/libgate.pc").read_text()
        self.assertIn("\nLibs.private: -pthread -latomic\n", text)

    def test_machine_with_atomic_integers_does_not(self):
        self.assertTrue(self.configure()[0])
        text = (self.temp / "build/pc/usr/libgate.pc").read_text()
        self.assertIn("\nLibs.private: -pthread\n", text)


if __name__ == "__main__":
    unittest.main()
