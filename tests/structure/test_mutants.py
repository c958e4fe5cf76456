# SPDX-License-Identifier: MIT
"""The mistakes of tests/mutants can be planted in the tree as it is; ./dev mutants plants them."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from source import ROOT

PATCHES = sorted((ROOT / "tests/mutants").glob("*.patch"))


class Mutants(unittest.TestCase):
    def test_each_begins_with_a_sentence_and_its_tests(self):
        self.assertTrue(PATCHES)
        for path in PATCHES:
            sentence, tests = path.read_text().splitlines()[:2]
            self.assertRegex(sentence, r"^[A-Z].*\.$", path.name)
            self.assertRegex(tests, r"^tests: \S", path.name)
            for test in tests.split()[1:]:
                self.assertTrue((ROOT / "tests" / f"{test}.c").is_file(), f"{path.name}: {test}")

    def test_numbers_are_unique(self):
        numbers = [path.name.split("-")[0] for path in PATCHES]
        self.assertEqual(sorted(set(numbers)), numbers)

    def test_each_applies(self):
        with tempfile.TemporaryDirectory() as folder:
            # Outside of any repository, whoever that belongs to.
            for name in ("include", "lib", "cli"):
                shutil.copytree(ROOT / name, Path(folder) / name)
            environment = dict(os.environ, GIT_CEILING_DIRECTORIES=str(Path(folder).parent))
            for path in PATCHES:
                for name in re.findall(r"^\+\+\+ b/(\S+)", path.read_text(), flags=re.M):
                    self.assertTrue((Path(folder) / name).is_file(), f"{path.name}: {name}")
                done = subprocess.run(["git", "apply", "--check", str(path)], cwd=folder, text=True,
                                      env=environment, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
                self.assertEqual(done.returncode, 0, f"{path.name}: {done.stdout}")


if __name__ == "__main__":
    unittest.main()
