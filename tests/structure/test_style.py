# SPDX-License-Identifier: MIT
"""How the sources look, where a program can tell."""
import re
import subprocess
import unittest

from source import ROOT, code, files, name

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
COLUMNS_MAX = 100


def functions(path):
    """(first line, number of lines) of each function of a C file, by its two outer braces."""
    opened = None
    for number, line in enumerate(code(path).splitlines(), 1):
        if line == "{":
            opened = number
        elif line == "}" and opened:
            yield opened, number - opened + 1
            opened = None


def all_sources():
    """Everything that people write here and that is not prose."""
    found = files(".c", ".h", ".py", ".sh", ".map", ".in", ".cmake")
    found += [path for path in files(".txt") if path.name == "CMakeLists.txt"]
    return found + [ROOT / path for path in ("CMakeLists.txt", "libgate.pc.in", "dev", ".ci/run")]


class Style(unittest.TestCase):
    def each(self, paths, wrong):
        """Fails with the places for which wrong(line) holds."""
        places = [f"{name(path)}:{number}" for path in paths
                  for number, line in enumerate(path.read_text().splitlines(), 1)
                  if wrong(line)]
        if places:
            self.fail(" ".join(places))

    def test_files_name_their_licence(self):
        for path in all_sources():
            head = path.read_text().splitlines()[:2]
            self.assertTrue(any("SPDX-License-" + "Identifier: MIT" in line for line in head),
                            f"{name(path)} has no SPDX line on top")

    def test_no_file_is_what_a_merge_left(self):
        self.assertEqual([name(path) for path in files(".orig", ".rej")], [])

    def test_lines_fit(self):
        self.each(all_sources(), lambda line: len(line) > COLUMNS_MAX)

    def test_no_tabs(self):
        self.each(all_sources(), lambda line: "\t" in line)

    def test_no_trailing_blanks(self):
        self.each(all_sources(), lambda line: line != line.rstrip())

    def test_files_are_short(self):
        for path in all_sources():
            self.assertLessEqual(len(path.read_text().splitlines()), FILE_LINES_MAX, name(path))

    def test_functions_are_short(self):
        found = 0
        for path in files(".c", ".h"):
            for line, length in functions(path):
                found += 1
                self.assertLessEqual(length, FUNCTION_LINES_MAX, f"{name(path)}:{line}")
        self.assertGreater(found, 0)

    def test_library_does_not_print_exit_or_touch_signals(self):
        forbidden = re.compile(r"\b(v?f?printf|puts|putchar|fputs|perror|_?exit|_Exit|quick_exit"
                               r"|abort|atexit|signal|sigaction|sigprocmask|raise)\s*\(")
        for path in files(".c", ".h", under=("lib",)):
            found = forbidden.search(code(path))
            self.assertIsNone(found, f"{name(path)}: {found and found[0]}")

    def test_what_a_codec_puts_around_a_body_is_checked_in_one_place(self):
        calls = [name(path) for path in files(".c", ".h", under=("lib",))
                 for _ in re.finditer(r"->\s*encode\s*\(", code(path))]
        self.assertEqual(calls, ["lib/core/codec.c"])

    def test_no_notes_for_later(self):
        self.each(files(".c", ".h", under=("include", "lib", "cli", "examples")),
                  lambda line: re.search(r"\b(TODO|FIXME|XXX)\b", line))

    def test_scripts_are_well_formed(self):
        for script in ("dev", ".ci/run"):
            run = subprocess.run(["bash", "-n", str(ROOT / script)], stderr=subprocess.PIPE,
                                 text=True)
            self.assertEqual(run.returncode, 0, run.stderr)

    def test_every_listed_command_exists(self):
        script = (ROOT / "dev").read_text()
        listed = re.findall(r"^#: (\w+)", script, flags=re.M)
        defined = re.findall(r"^cmd_(\w+)\(\)", script, flags=re.M)
        self.assertTrue(listed)
        self.assertEqual(listed, defined)


if __name__ == "__main__":
    unittest.main()
