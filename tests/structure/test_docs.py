# SPDX-License-Identifier: MIT
"""The tests that docs/testing.md names are there."""
import re
import unittest

from source import ROOT

NAMED = re.compile(r"`(\w+/test_\w+): (test_\w+)`")


class Docs(unittest.TestCase):
    def test_tests_that_are_named_exist(self):
        named = NAMED.findall((ROOT / "docs/testing.md").read_text())
        self.assertGreater(len(named), 50)
        for program, test in named:
            found = [path.read_text() for suffix in (".c", ".py")
                     if (path := (ROOT / "tests" / program).with_suffix(suffix)).exists()]
            self.assertTrue(found, program)
            self.assertTrue(any(re.search(r"\b%s\b" % test, text) for text in found),
                            "%s: %s" % (program, test))


if __name__ == "__main__":
    unittest.main()
