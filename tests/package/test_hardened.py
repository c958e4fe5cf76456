# SPDX-License-Identifier: MIT
"""What a release build has against attacks, read off the programs and the library themselves."""
import json
import os
import platform
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ["GATE_SOURCE"])
IS_X86 = platform.machine() == "x86_64"


def run(*command):
    """The output of a command that has to succeed."""
    done = subprocess.run([str(word) for word in command], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=240, check=False)
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(folder, kind, *options, targets=()):
    run("cmake", "-S", SOURCE, "-B", folder, f"-DCMAKE_BUILD_TYPE={kind}", "-DGATE_TESTS=OFF",
        "-DGATE_EXAMPLES=OFF", f"-DCMAKE_C_COMPILER={os.environ['CC']}", *options)
    targets = ("--target", *targets) if targets else ()
    run("cmake", "--build", folder, "-j", os.cpu_count() or 1, *targets)


class Hardened(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.folder = folder = Path(holder.name)
        # Leaves the compiler's options in what it builds; macros are not among gcc's.
        build(folder, "Release", "-DCMAKE_C_FLAGS=-frecord-gcc-switches",
              "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
        cls.programs = [folder / "cli" / name
                        for name in ("gate-server", "gate-client", "gate-bench")]
        cls.built = cls.programs + [(folder / "libgate.so").resolve()]

    def each(self, *options, among=None):
        """(name, what readelf says) of each file."""
        for path in among or self.built:
            yield path.name, run("readelf", "-W", *options, path)

    def test_programs_are_position_independent(self):
        for name, text in self.each("-hd", among=self.programs):
            self.assertRegex(text, r"Type: +DYN", name)
            self.assertRegex(text, r"FLAGS_1\).*\bPIE\b", name)

    def test_relocations_are_resolved_at_the_start_and_then_read_only(self):
        for name, text in self.each("-ld"):
            self.assertIn("GNU_RELRO", text, name)
            self.assertRegex(text, r"FLAGS_1\).*\bNOW\b", name)

    def test_nothing_is_both_writable_and_executable(self):
        for name, text in self.each("-l"):
            segments = re.findall(r"^ +(\w+)(?: +0x\w+){5} (...) 0x", text, flags=re.M)
            self.assertIn(("GNU_STACK", "RW "), segments, name)
            self.assertNotIn("RWE", [flags for _, flags in segments], name)

    def test_stack_is_protected(self):
        for name, text in self.each("--dyn-syms"):
            self.assertIn(" __stack_chk_fail@", text, name)

    def test_libc_checks_sizes(self):
        for name, text in self.each("--dyn-syms"):
            self.assertRegex(text, r" __\w+_chk@", name)

    def test_every_file_was_compiled_with_the_flags(self):
        flags = ["-fstack-protector-strong", "-fstack-clash-protection"]
        for name, text in self.each("-p", ".GCC.command.line"):
            commands = re.findall(r"^ +\[ *[0-9a-f]+\] +(.+)$", text, flags=re.M)
            self.assertTrue(commands, name)
            for command in commands:
                for flag in flags + ["-fcf-protection"] * IS_X86:
                    self.assertIn(flag, command, name)

    def test_sizes_are_checked_at_the_highest_level(self):
        commands = json.loads((self.folder / "compile_commands.json").read_text())
        self.assertTrue(commands)
        for command in commands:
            self.assertIn(" -D_FORTIFY_SOURCE=3 ", command["command"], command["file"])

    @unittest.skipUnless(IS_X86, "control-flow protection is x86's")
    def test_indirect_calls_land_where_they_may(self):
        # Not in the file's notes, which need a libc that was built so too.
        for path in self.built:
            function = "gate_server_open" if path.name.startswith("lib") else "main"
            text = run("objdump", "-d", "--no-show-raw-insn", f"--disassemble={function}", path)
            self.assertRegex(text, rf"<{function}>:\n +[0-9a-f]+:\s+endbr64", path.name)


class Sandbox(unittest.TestCase):
    def test_build_without_libseccomp_says_that_it_has_no_sandbox(self):
        with tempfile.TemporaryDirectory() as folder:
            build(folder, "Debug", "-DGATE_SANDBOX=OFF", targets=("gate-server",))
            program = Path(folder) / "cli/gate-server"
            self.assertNotIn("libseccomp", run("readelf", "-d", program))
            done = subprocess.run([program, "-l", "127.0.0.1:0", "--sandbox"], text=True,
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=30,
                                  check=False)
            self.assertEqual(done.returncode, 8)
            self.assertIn("--sandbox: this build has none", done.stderr)


if __name__ == "__main__":
    unittest.main()
