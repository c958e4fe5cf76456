# SPDX-License-Identifier: MIT
"""Programs of other people, built against a staged install and against the source tree."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ["GATE_SOURCE"])
BUILD = Path(os.environ["GATE_BUILD"])
CONSUMER = SOURCE / "tests/package/consumer.c"
LANGUAGES = {"c": ("CC", "c11"), "c++": ("CXX", "c++11")}

FIND_PROJECT = """
cmake_minimum_required(VERSION 3.21)
project(consumer LANGUAGES C)
find_package(libgate {version} CONFIG REQUIRED)
add_executable(consumer "{consumer}")
target_link_libraries(consumer PRIVATE {target})
"""

SUBDIRECTORY_PROJECT = """
cmake_minimum_required(VERSION 3.21)
project(consumer LANGUAGES C)
enable_testing()
add_subdirectory("{source}" gate)
add_executable(consumer "{consumer}")
target_link_libraries(consumer PRIVATE gate::gate)
"""


def calls():
    """The functions of the public header, and its macros that are called like functions."""
    header = (SOURCE / "include/gate/gate.h").read_text()
    functions = re.findall(r"^GATE_API\s[^;(]*?(\w+)\(", header, flags=re.M)
    return set(functions) | set(re.findall(r"^#define (gate_\w+)\(", header, flags=re.M))


def run(*command, **environment):
    """The output of a command that has to succeed."""
    done = subprocess.run([str(word) for word in command], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=240,
                          env={**os.environ, **environment})
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


TWICE_PROJECT = """
cmake_minimum_required(VERSION 3.21)
project(consumer LANGUAGES C)
add_subdirectory("{source}" one)
add_subdirectory("{source}" another)
add_executable(consumer "{consumer}")
target_link_libraries(consumer PRIVATE gate::gate)
"""

both = unittest.skipUnless(os.environ["GATE_SHARED"] == os.environ["GATE_STATIC"] == "ON",
                           "only one kind of library is installed")


class Consumers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.temp = Path(holder.name)
        # Installed in one place and used in another: nothing in it may know where it was.
        staged = cls.temp / "staged"
        run("cmake", "--install", BUILD, "--prefix", staged)
        cls.prefix = cls.temp / "moved prefix"
        staged.rename(cls.prefix)
        cls.libdir = next(cls.prefix.rglob("libgate.pc")).parent.parent
        cls.version = (cls.libdir / "cmake/libgate/libgateConfigVersion.cmake").read_text()
        cls.version = re.search(r'PACKAGE_VERSION "([\d.]+)"', cls.version)[1]

    def work(self):
        return Path(tempfile.mkdtemp(dir=self.temp))

    def assertWelcomed(self, program, **environment):
        self.assertEqual(run(program, **environment), "welcome to server!\n")

    def needed(self, program):
        """The shared libraries that a program asks for."""
        return re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-dW", program))

    def compile(self, flags, language="c"):
        compiler, standard = LANGUAGES[language]
        program = self.work() / "consumer"
        run(os.environ[compiler], f"-std={standard}", "-x", language, CONSUMER, "-x", "none",
            "-o", program, *flags, "-pthread")
        return program

    def pkg_config(self, *options, libdir=None):
        path = str((libdir or self.libdir) / "pkgconfig")
        text = run("pkg-config", *options, "libgate", PKG_CONFIG_PATH=path)
        # Blanks of a folder's name come escaped.
        return [word.replace("\\ ", " ") for word in re.findall(r"(?:\\ |\S)+", text)]

    def cmake(self, text, *options):
        folder = self.work()
        (folder / "CMakeLists.txt").write_text(text)
        run("cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_C_COMPILER={os.environ['CC']}",
            *options)
        run("cmake", "--build", folder / "build", "-j", os.cpu_count() or 1)
        return folder / "build"

    @both
    def test_pkg_config_shared(self):
        for language in LANGUAGES:
            program = self.compile(self.pkg_config("--cflags", "--libs"), language)
            self.assertIn("libgate.so.0", self.needed(program))
            self.assertWelcomed(program, LD_LIBRARY_PATH=str(self.libdir))

    @both
    def test_pkg_config_static(self):
        flags = self.pkg_config("--static", "--cflags", "--libs")
        self.assertIn("-pthread", flags)
        for language in LANGUAGES:
            program = self.compile(["-static", *flags], language)
            self.assertWelcomed(program)

    def test_pkg_config_asks_for_nothing_but_libgate(self):
        self.assertEqual(self.pkg_config("--libs-only-l"), ["-lgate"])
        self.assertEqual(self.pkg_config("--libs-only-other"), [])
        self.assertEqual(self.pkg_config("--cflags-only-other"), [])
        self.assertEqual(self.pkg_config("--print-requires"), [])
        self.assertEqual(self.pkg_config("--modversion"), [self.version])

    def test_pkg_config_leaves_out_the_folders_of_the_system(self):
        build = self.work()
        run("cmake", "-S", SOURCE, "-B", build, "-DGATE_TESTS=OFF", "-DCMAKE_INSTALL_PREFIX=/usr")
        text = run("pkg-config", "--cflags", "--libs", "libgate",
                   PKG_CONFIG_PATH=str(build / "pc/usr"))
        self.assertEqual(text.split(), ["-lgate"])

    @both
    def test_find_package_shared(self):
        for target, option in (("gate::gate", "ON"), ("gate::gate_shared", "OFF")):
            build = self.cmake(
                FIND_PROJECT.format(consumer=CONSUMER, target=target, version=self.version),
                f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DBUILD_SHARED_LIBS={option}")
            self.assertIn("libgate.so.0", self.needed(build / "consumer"))
            self.assertWelcomed(build / "consumer")

    @both
    def test_find_package_static(self):
        for target, option in (("gate::gate", "OFF"), ("gate::gate_static", "ON")):
            build = self.cmake(
                FIND_PROJECT.format(consumer=CONSUMER, target=target, version=self.version),
                f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DBUILD_SHARED_LIBS={option}")
            self.assertNotIn("libgate.so.0", self.needed(build / "consumer"))
            self.assertWelcomed(build / "consumer")

    def test_find_package_refuses_another_minor_version(self):
        major, minor = self.version.split(".")[:2]
        other = f"{major}.{int(minor) + 1}"
        with self.assertRaises(AssertionError):
            self.cmake(FIND_PROJECT.format(consumer=CONSUMER, target="gate::gate", version=other),
                       f"-DCMAKE_PREFIX_PATH={self.prefix}")

    def test_add_subdirectory_brings_only_the_library(self):
        build = self.cmake(SUBDIRECTORY_PROJECT.format(source=SOURCE, consumer=CONSUMER))
        self.assertWelcomed(build / "consumer")
        self.assertIn("Total Tests: 0", run("ctest", "--test-dir", build, "-N"))
        run("cmake", "--install", build, "--prefix", build / "installed")
        self.assertEqual([path for path in (build / "installed").rglob("*") if path.is_file()], [])

    @both
    def test_find_package_takes_the_kind_that_a_distribution_has_installed(self):
        for name, wanted in (("shared", "OFF"), ("static", "ON")):
            other = "static" if name == "shared" else "shared"
            prefix = self.work() / "prefix"
            shutil.copytree(self.prefix, prefix, symlinks=True)
            for path in [*prefix.rglob(f"libgate-{other}*.cmake"),
                         *prefix.rglob("libgate.a" if other == "static" else "libgate.so*")]:
                path.unlink()
            build = self.cmake(
                FIND_PROJECT.format(consumer=CONSUMER, target="gate::gate", version=self.version),
                f"-DCMAKE_PREFIX_PATH={prefix}", f"-DBUILD_SHARED_LIBS={wanted}")
            self.assertEqual("libgate.so.0" in self.needed(build / "consumer"), name == "shared")
            self.assertWelcomed(build / "consumer")

    def test_add_subdirectory_twice_and_in_unity(self):
        build = self.cmake(TWICE_PROJECT.format(source=SOURCE, consumer=CONSUMER),
                           "-DCMAKE_UNITY_BUILD=ON")
        self.assertWelcomed(build / "consumer")

    def test_add_subdirectory_sets_only_our_own_cache_entries(self):
        build = self.cmake(SUBDIRECTORY_PROJECT.format(source=SOURCE, consumer=CONSUMER))
        entries = re.findall(r"^(\w+):(?!INTERNAL)", (build / "CMakeCache.txt").read_text(),
                             flags=re.M)
        self.assertIn("GATE_TESTS", entries)
        strangers = [entry for entry in entries
                     if not entry.startswith(("CMAKE_", "GATE_", "consumer_", "libgate_"))]
        self.assertEqual(strangers, [])

    def test_absolute_library_folder(self):
        build, libdir = self.work(), self.temp / "abs/lib"
        run("cmake", "-S", SOURCE, "-B", build, "-DGATE_TESTS=OFF", "-DGATE_EXAMPLES=OFF",
            "-DCMAKE_BUILD_TYPE=Debug", f"-DCMAKE_C_COMPILER={os.environ['CC']}",
            f"-DCMAKE_INSTALL_LIBDIR={libdir}", f"-DCMAKE_INSTALL_PREFIX={self.temp / 'abs/usr'}")
        run("cmake", "--build", build, "-j", os.cpu_count() or 1)
        run("cmake", "--install", build)
        self.assertEqual(self.pkg_config("--variable=libdir", libdir=libdir), [str(libdir)])
        program = self.compile(self.pkg_config("--cflags", "--libs", libdir=libdir))
        self.assertWelcomed(program, LD_LIBRARY_PATH=str(libdir))
        run(self.temp / "abs/usr/bin/gate-client", "--version")

    def test_installed_programs_find_their_library(self):
        programs = sorted((self.prefix / "bin").iterdir())
        self.assertIn("gate-server", [path.name for path in programs])
        for program in programs:
            self.assertIn(self.version, run(program, "--version", LD_LIBRARY_PATH=""))

    def test_examples_are_installed(self):
        installed = {path.name for path in self.prefix.glob("share/doc/libgate/examples/*.c")}
        self.assertEqual(installed, {path.name for path in (SOURCE / "examples").glob("*.c")})

    def test_man_pages_are_installed(self):
        written = {path.name for folder in ("cli", "docs") for path in (SOURCE / folder).glob("*")
                   if path.suffix in (".1", ".3", ".7")}
        installed = {path.name for path in self.prefix.glob("share/man/man*/*")}
        functions = {name + ".3" for name in calls()}
        self.assertGreater(len(functions), 25)
        self.assertEqual(installed, written | functions)

    def test_man_finds_every_function_by_its_name(self):
        """As man(1) does without an index: by the name of the file, from the root of the pages."""
        manual = self.prefix / "share/man"
        for name in sorted(calls()):
            done = subprocess.run(["mandoc", "-T", "ascii", f"man3/{name}.3"], cwd=manual,
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout)
            head = re.sub(r".\x08", "", done.stdout.partition("SYNOPSIS")[0])
            self.assertRegex(head, rf"\b{name}\b")


class Builds(unittest.TestCase):
    """What packagers build, from the sources as they are."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.temp = Path(holder.name)

    def build(self, *options, source=SOURCE, targets=(), **environment):
        folder = self.temp / "build"
        said = run("cmake", "-S", source, "-B", folder, f"-DCMAKE_C_COMPILER={os.environ['CC']}",
                   "-DCMAKE_BUILD_TYPE=Debug", *options, **environment)
        targets = ("--target", *targets) if targets else ()
        run("cmake", "--build", folder, "-j", os.cpu_count() or 1, *targets)
        return said

    def test_without_cmocka_the_tests_are_left_out_and_it_is_said(self):
        said = self.build(PKG_CONFIG_LIBDIR=str(self.temp))
        self.assertIn("The tests are not built: cmocka missing", said)
        self.assertTrue((self.temp / "build/cli/gate-server").exists())
        self.assertTrue((self.temp / "build/libgate.so").exists())
        self.assertFalse((self.temp / "build/tests").exists())

    def test_one_kind_of_library(self):
        for off, gone, kept in (("STATIC", "libgate.a", "libgate.so"),
                                ("SHARED", "libgate.so", "libgate.a")):
            with self.subTest(off):
                self.build(f"-DGATE_{off}=OFF", f"-DGATE_{kept_kind(off)}=ON", "-DGATE_TESTS=OFF",
                           "-DGATE_EXAMPLES=OFF")
                prefix = self.temp / off
                run("cmake", "--install", self.temp / "build", "--prefix", prefix)
                self.assertEqual(list(prefix.rglob(gone)), [])
                self.assertEqual(len(list(prefix.rglob(kept))), 1)
                run(prefix / "bin/gate-server", "--version")

    def test_directories_may_have_blanks(self):
        self.temp = self.temp / "a  place"
        for name in ("include", "lib", "cli", "cmake", "docs", "tests", "examples"):
            shutil.copytree(SOURCE / name, self.temp / "source" / name)
        for name in ("CMakeLists.txt", "libgate.pc.in", "LICENSE", "README.md", "CHANGELOG.md",
                     "SECURITY.md"):
            shutil.copy(SOURCE / name, self.temp / "source")
        self.build("-DGATE_TESTS=ON", source=self.temp / "source",
                   targets=("gate-server", "sim_test_knobs", "inject_test_memory"))
        run(self.temp / "build/cli/gate-server", "--version")
        run(self.temp / "build/tests/sim/test_knobs")


def kept_kind(off):
    return "SHARED" if off == "STATIC" else "STATIC"


# Names of mdoc's macros that are no words of English: where a reader sees one, it was not taken for
# a macro.
MACROS = set("""Ao Ap Aq Ar Bc Bd Bf Bk Bl Bo Bq Brc Bro Brq Bx Cd Cm Dc Dd Dl Dq Dt Dv Ec Ed Ef
    Ek El Em Eo Er Es Ev Ex Fa Fc Fd Fl Fn Fo Fr Ft Ic Li Nd Nm Ns Nx Oc Oo Op Os Ox Pa Pc
    Pf Po Pp Pq Qc Ql Qo Qq Rs Rv Sc Sh Sm So Sq Ss St Sx Sy Ta Tn Ud Ux Va Vt Xc Xo Xr""".split())


class ManPages(unittest.TestCase):
    def test_pages_show_no_markup(self):
        for page in sorted((SOURCE / "cli").glob("*.1")) + sorted((SOURCE / "docs").glob("*.[37]")):
            shown = re.sub(r".\x08", "", run("mandoc", "-T", "utf8", page))
            words = set(re.findall(r"(?<![\w.'-])[A-Z][a-z]c?\b", shown))
            self.assertFalse(words & MACROS, page.name)
            self.assertNotRegex(shown, r"(?m)^\s*\.[A-Z][a-z]\b", page.name)
            self.assertNotIn("\\", re.sub(r"\\[nr0x]", "", shown), page.name)

    def test_man_pages_are_well_formed(self):
        for folder in ("cli", "docs"):
            for page in sorted((SOURCE / folder).glob("*.[137]")):
                run("mandoc", "-T", "lint", "-W", "warning", page)


if __name__ == "__main__":
    unittest.main()
