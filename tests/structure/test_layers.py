# SPDX-License-Identifier: MIT
"""Who may include whom, and that lib/core keeps away from the machine."""
import re
import unittest

from source import BUILD, ROOT, files, includes, name, symbols

# Types, constants and functions of memory, text and numbers; none makes a system call.
PURE_HEADERS = set("""
    arpa/inet.h assert.h endian.h errno.h inttypes.h limits.h netinet/in.h stdalign.h stdarg.h
    stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h strings.h sys/socket.h
    sys/un.h
""".split())

PURE_FUNCTIONS = set("""
    memchr memcmp memcpy memmem memmove memrchr memset rawmemchr
    strchr strcmp strcspn strlen strncmp strnlen strrchr strspn strstr strcasecmp strncasecmp
    snprintf vsnprintf strerror_r strerrordesc_np strerrorname_np
    strtol strtoll strtoul strtoull bsearch qsort
    malloc calloc realloc free aligned_alloc
    inet_ntop inet_pton htonl htons ntohl ntohs
""".split())

# What the compiler and the C library put in on their own.
COMPILER = {"_GLOBAL_OFFSET_TABLE_", "__assert_fail", "__errno_location", "__stack_chk_fail",
            "__tls_get_addr", "__chk_fail"}


def plain(symbol):
    """A libc function's name without what fortifying and standards wrap around it."""
    symbol = re.sub(r"^__(?:isoc\d+|xpg|GI)_", "", symbol)
    return re.sub(r"^__(\w+)_chk$", r"\1", symbol)


def project_includes(path):
    """Includes that mean a file of this project: quoted, or below gate/."""
    return [target for mark, target in includes(path) if mark == '"' or target.startswith("gate/")]


def resolve(path, target):
    """The file of lib/ that an include means, or None."""
    for folder in (path.parent, ROOT / "lib"):
        if (folder / target).is_file():
            return (folder / target).resolve()
    return None


def module(path):
    """lib/core/addr for both addr.h and addr.c."""
    return name(path.with_suffix(""))


def find_circle(graph):
    """A list of modules that leads back to its first one, or None."""
    done = set()

    def visit(node, trail):
        if node in trail:
            return trail[trail.index(node):] + [node]
        if node not in done:
            for target in sorted(graph.get(node, ())):
                circle = visit(target, trail + [node])
                if circle:
                    return circle
            done.add(node)
        return None

    for start in sorted(graph):
        circle = visit(start, [])
        if circle:
            return circle
    return None


class Includes(unittest.TestCase):
    def check(self, paths, allowed):
        """allowed(path, target) says whether path may include the project's file target."""
        paths = list(paths)
        self.assertTrue(paths, "no file to check")
        for path in paths:
            for target in project_includes(path):
                self.assertTrue(allowed(path, target), f"{name(path)} includes {target}")

    def test_programs_and_examples_see_only_the_public_header(self):
        self.check(files(".c", ".h", under=("cli", "examples")),
                   lambda path, target: target.startswith("gate/")
                   or ("/" not in target and (path.parent / target).is_file()))

    def test_core_includes_only_core(self):
        self.check(files(".c", ".h", under=("lib/core",)),
                   lambda path, target: target.startswith(("core/", "gate/")))

    def test_core_includes_no_system_header_that_acts(self):
        for path in files(".c", ".h", under=("lib/core",)):
            system = {target for mark, target in includes(path)
                      if mark == "<" and not target.startswith("gate/")}
            self.assertLessEqual(system, PURE_HEADERS, name(path))

    def test_io_includes_only_io_and_core(self):
        self.check(files(".c", ".h", under=("lib/io",)),
                   lambda path, target: target.startswith(("io/", "core/", "gate/")))

    def test_simulator_sees_only_the_io_contract_and_core(self):
        # The tests and the scenes put servers and clients into it; the simulator knows neither.
        sources = [path for path in files(".c", ".h", under=("tests/sim",))
                   if not path.name.startswith(("test_", "scene"))]
        for path in sources:
            for target in project_includes(path):
                self.assertTrue(target == "io/io.h" or target.startswith(("core/", "gate/"))
                                or (path.parent / target).is_file(),
                                f"{name(path)} includes {target}")

    def test_modules_do_not_include_each_other_in_a_circle(self):
        graph = {}
        for path in files(".c", ".h", under=("lib",)):
            targets = {resolve(path, target) for target in project_includes(path)} - {None}
            edges = {module(target) for target in targets} - {module(path)}
            graph.setdefault(module(path), set()).update(edges)
        self.assertTrue(graph)
        self.assertIsNone(find_circle(graph))


class Purity(unittest.TestCase):
    def test_core_calls_nothing_that_acts(self):
        folder = BUILD / "CMakeFiles/gate_objects.dir/lib/core"
        objects = [folder / f"{path.name}.o" for path in files(".c", under=("lib/core",))]
        self.assertTrue(objects)
        own = {symbol for path in objects for _, symbol in symbols(path, "-g", "--defined-only")}
        for path in objects:
            wanted = {symbol for _, symbol in symbols(path, "-u")}
            foreign = {symbol for symbol in wanted - own - COMPILER
                       if plain(symbol) not in PURE_FUNCTIONS}
            self.assertFalse(foreign, path.name)


if __name__ == "__main__":
    unittest.main()
