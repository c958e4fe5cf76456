# SPDX-License-Identifier: MIT
"""The library under a program that unloads it, as hosts of plug-ins do."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ["GATE_BUILD"])


class Unload(unittest.TestCase):
    def test_a_look_up_under_way_survives_that_the_library_is_unloaded(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "unload"
            # The library finds the program's own getaddrinfo only if that is exported.
            subprocess.run([os.environ["CC"], "-rdynamic", "-o", program, HERE / "unload.c",
                            "-ldl", "-pthread"], check=True, timeout=60)
            done = subprocess.run([program, BUILD / "libgate.so"], text=True, timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.stdout, f"asked: {-110}\nsurvived\n")
        self.assertEqual(done.returncode, 0)


if __name__ == "__main__":
    unittest.main()
