# SPDX-License-Identifier: MIT
"""What the library shows to the outside: its symbols and its header."""
import os
import platform
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from source import BUILD, HEADER, ROOT, code, files, name, prototypes, symbols

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def map_symbols():
    """The names in lib/libgate.map, by node."""
    text = code(ROOT / "lib/libgate.map")
    nodes = re.findall(r"(\w+\.?[\w.]*)\s*\{\s*global:(.*?)(?:local:|\})", text, flags=re.S)
    return {node: set(re.findall(r"\w+", body)) for node, body in nodes}


class Symbols(unittest.TestCase):
    def test_map_lists_the_prototypes(self):
        listed = set().union(*map_symbols().values())
        self.assertTrue(prototypes())
        self.assertEqual(listed, prototypes())

    def test_map_hides_the_rest(self):
        self.assertIn("local:*;", re.sub(r"\s", "", code(ROOT / "lib/libgate.map")))

    def test_shared_library_exports_the_map(self):
        exported = symbols(BUILD / "libgate.so", "-D", "--defined-only", "--with-symbol-versions")
        functions = {symbol for kind, symbol in exported if kind != "A"}
        expected = {f"{symbol}@@{node}" for node, listed in map_symbols().items()
                    for symbol in listed}
        self.assertEqual(functions, expected)

    def test_no_data_is_exported(self):
        exported = symbols(BUILD / "libgate.so", "-D", "--defined-only")
        self.assertEqual({kind for kind, _ in exported} - {"A"}, {"T"})

    def test_global_symbols_have_the_prefix(self):
        defined = {symbol for _, symbol in symbols(BUILD / "libgate.a", "-g", "--defined-only")}
        self.assertTrue(defined)
        public = prototypes()
        strangers = {symbol for symbol in defined - public if not symbol.startswith("gate__")}
        self.assertFalse(strangers)

    def test_soname_is_apart_from_the_version(self):
        dynamic = subprocess.run(["readelf", "-dW", str(BUILD / "libgate.so")], check=True,
                                 text=True, stdout=subprocess.PIPE).stdout
        self.assertRegex(dynamic, r"SONAME.*\[libgate\.so\.0\]")


def machines():
    """Compiler options for each way in which structs are laid out on Linux, without headers of the
    C library: 64 bits; 32 bits with 8-byte integers at multiples of 4 (i386) and of 8 (ARM, MIPS,
    PowerPC, x32)."""
    if platform.machine() != "x86_64":
        return [[]]
    return [[], ["-m32"], ["-m32", "-malign-double"]]


class Headers(unittest.TestCase):
    def compile(self, compiler, language, standard, *arguments, more=""):
        run = subprocess.run(
            [os.environ[compiler], "-x", language, f"-std={standard}", *arguments,
             "-fsyntax-only", "-I", str(ROOT / "include"), *WARNINGS, "-"],
            input="#include <gate/gate.h>\n" + more, text=True, stderr=subprocess.PIPE)
        self.assertEqual(run.returncode, 0, f"{arguments}: {run.stderr}")

    def test_public_header_compiles_alone_as_c(self):
        for standard in ("c11", "c17"):
            self.compile("CC", "c", standard)

    def test_public_header_compiles_alone_as_cpp(self):
        for standard in ("c++11", "c++17", "c++20"):
            self.compile("CXX", "c++", standard)

    def test_public_structs_have_no_padding_on_any_machine(self):
        structs = re.findall(r"^(?:typedef )?struct (\w+) \{", code(HEADER), flags=re.M)
        self.assertIn("gate_options", structs)
        # A compiler may look only at what is used.
        used = "".join(f"int size_of_{struct}[sizeof(struct {struct})];\n" for struct in structs)
        for machine in machines():
            self.compile("CC", "c", "c11", "-Wpadded", "-ffreestanding", *machine, more=used)

    def test_structs_begin_with_their_size_and_its_tests_know_them(self):
        """Others never change; gate_event is the library's, which sets its size."""
        bodies = re.findall(r"\bstruct (\w+)\s*\{(.*?)\n\}", code(HEADER), flags=re.S)
        sized = {struct for struct, body in bodies if re.match(r"\s*uint32_t size;", body)}
        self.assertEqual({struct for struct, _ in bodies} - sized,
                         {"gate_frame", "gate_wrap", "gate_addr"})
        tested = (ROOT / "tests/net/test_sizes.c").read_text()
        self.assertEqual(set(re.findall(r'^    \{"(\w+)", sizeof', tested, flags=re.M)),
                         sized - {"gate_event"})

    def test_functions_that_fill_a_codec_take_its_size(self):
        """The program's struct may be smaller than the library's, and need not be initialised."""
        fills = re.findall(r"^GATE_API[^;(]*?(\w+)\(gate_codec \*[^;]*;", code(HEADER), flags=re.M)
        self.assertTrue(fills)
        for function in fills:
            self.assertRegex(function, r"_sized$")
            self.assertRegex(HEADER.read_text(),
                             rf"#define {function[:-6]}\((.*?)\) *(\\\n *)?{function}\("
                             r"\(codec\), sizeof\(gate_codec\)")

    def test_functions_take_no_enumerations(self):
        """A C++ program has the numbers of events and callbacks as integers."""
        named = re.findall(r"\btypedef enum (\w+)", code(HEADER))
        self.assertTrue(named)
        taken = re.findall(r"^(?:GATE_API|typedef)\s[^;{]*\([^;{]*;", code(HEADER), flags=re.M)
        for prototype in taken:
            self.assertNotRegex(prototype, r"\b(%s)\b" % "|".join(named))

    def test_internal_headers_compile_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            unit = Path(folder) / "unit.c"
            for header in files(".h", under=("lib",)):
                unit.write_text(f'#include "{header}"\n')
                run = subprocess.run(
                    [os.environ["CC"], "-std=c11", "-D_GNU_SOURCE", "-fsyntax-only", "-Wall",
                     "-I", str(ROOT / "include"), "-I", str(ROOT / "lib"), str(unit)],
                    text=True, stderr=subprocess.PIPE)
                self.assertEqual(run.returncode, 0, f"{name(header)}: {run.stderr}")

    def test_interface_has_no_type_that_differs_between_compilers(self):
        self.assertNotRegex(code(HEADER), r"\b(ssize_t|bool|_Bool|time_t|off_t|long)\b")


if __name__ == "__main__":
    unittest.main()
