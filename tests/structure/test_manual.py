# SPDX-License-Identifier: MIT
"""The man pages of the library, held against the public header and the examples."""
import os
import re
import shlex
import subprocess
import textwrap
import unittest

from source import HEADER, ROOT, code, name, prototypes

PAGES = sorted((ROOT / "docs").glob("*.[37]"))
OVERVIEW = ROOT / "docs/libgate.7"


def section(page, title):
    """The lines of a page below one heading."""
    found = re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", page.read_text(), flags=re.M | re.S)
    return found[1] if found else ""


def blank(text):
    """Text without the blanks that mean nothing in C."""
    return re.sub(r"\s*([*(),])\s*", r"\1", " ".join(text.split()))


def declared():
    """{function: its prototype} of the public header."""
    texts = re.findall(r"^GATE_API\s([^;]*);", code(HEADER), flags=re.M)
    return {re.search(r"(\w+)\s*\(", text)[1]: blank(text) for text in texts}


def macros():
    """{macro: its prototype} of the macros that pass the size of a struct to a function *_sized."""
    names = re.findall(r"^#define (gate_\w+)\(", HEADER.read_text(), flags=re.M)
    return {name: declared()[name + "_sized"].replace(name + "_sized", name)
            .replace("size_t size,", "") for name in names}


def synopses(page):
    """(function, its prototype) of each one in a page's synopsis; not of the typedefs."""
    for result, function, arguments in re.findall(
            r"^\.Ft ([^\n]*)\n\.Fo (\w+)\n(.*?)^\.Fc$", section(page, "SYNOPSIS"),
            flags=re.M | re.S):
        if not result.startswith("typedef"):
            listed = [" ".join(shlex.split(line)[1:]) for line in arguments.splitlines()]
            yield function, blank(f"{shlex.split(result)[0]} {function}({', '.join(listed)})")


def constants():
    """{name: value} of the header's enumerations."""
    bodies = re.findall(r"\benum(?:\s+\w+)?\s*\{(.*?)\}", code(HEADER), flags=re.S)
    return {constant: int(value) for body in bodies
            for constant, value in re.findall(r"(GATE_\w+)\s*=\s*(-?\d+)", body)}


def fields():
    """{struct: its fields} of the header's structs, without pointers to functions' arguments."""
    found = {}
    for struct, body in re.findall(r"\bstruct (\w+)\s*\{(.*?)\n\}", code(HEADER), flags=re.S):
        members = [re.search(r"\(\*(\w+)\)|(\w+)\s*(?:\[\d+\])?$", text.strip())
                   for text in body.split(";") if text.strip()]
        found[struct] = {member[1] or member[2] for member in members}
    return found


def blocks(page):
    """The code in a page's displays, as C."""
    for text in re.findall(r"^\.Bd -literal\n(.*?)^\.Ed$", page.read_text(), flags=re.M | re.S):
        yield text.replace(r"\&", "").replace(r"\-", "-").replace(r"\e", "\\")


class Manual(unittest.TestCase):
    def test_every_function_is_in_one_synopsis_as_in_the_header(self):
        self.assertEqual(set(declared()), prototypes())
        found = [(page, entry) for page in PAGES for entry in synopses(page)]
        expected = declared() | macros()
        self.assertCountEqual([function for _, (function, _) in found], expected)
        for page, (function, prototype) in found:
            self.assertEqual(prototype, expected[function], name(page))

    def test_every_function_is_in_the_name_of_the_page_with_its_synopsis(self):
        for page in PAGES:
            named = set(re.findall(r"^\.Nm (\w+)", section(page, "NAME"), flags=re.M))
            self.assertIn(page.stem, named)
            shown = {function for function, _ in synopses(page)}
            self.assertEqual(named & set(declared() | macros()), shown, name(page))

    def test_every_constant_is_in_a_page(self):
        text = "\n".join(page.read_text() for page in PAGES)
        shown = set(re.findall(r"\bGATE_\w+", "\n".join(re.findall(r"^.*\bDv .*$", text, re.M))))
        self.assertTrue(constants())
        self.assertFalse(set(constants()) - shown)

    def test_tables_give_the_codes_and_reasons_of_the_header(self):
        rows = re.findall(r"^\.It Dv (GATE_\w+) Pq (\\?-?\d+)$", OVERVIEW.read_text(), flags=re.M)
        table = {constant: int(value.replace("\\", "")) for constant, value in rows}
        expected = {constant: value for constant, value in constants().items()
                    if constant.startswith(("GATE_CLOSE_", "GATE_E"))}
        self.assertEqual(len(rows), len(table))
        self.assertEqual(table, expected)

    def test_every_field_is_an_item_of_the_page_about_its_struct(self):
        pages = {"gate_options": "gate_server_open", "gate_event": "gate_server_open",
                 "gate_stats": "gate_server_open", "gate_client_options": "gate_client_open",
                 "gate_codec": "gate_codec", "gate_frame": "gate_codec", "gate_wrap": "gate_codec",
                 "gate_addr": "gate_addr_parse",
                 "gate_listen_options": "gate_server_listen", "gate_error": "gate_server_listen"}
        self.assertEqual(set(fields()), set(pages))
        for struct, members in fields().items():
            text = (ROOT / f"docs/{pages[struct]}.3").read_text()
            shown = set(re.findall(r"^\.It .*\bFa (\w+)$", text, flags=re.M))
            shown |= set(re.findall(r"^\.It Fa (\w+)$", text, flags=re.M))
            self.assertFalse(members - shown, struct)

    def test_references_lead_to_pages(self):
        known = {page.stem: page.suffix[1:] for page in PAGES}
        known |= {function: "3" for function in declared() | macros()}
        for page in PAGES:
            for target, number in re.findall(r"\bXr ((?:lib)?gate\w*) (\d)", page.read_text()):
                self.assertEqual(known.get(target), number, f"{name(page)}: {target}({number})")


class Examples(unittest.TestCase):
    def test_overview_shows_the_smallest_server(self):
        door = (ROOT / "examples/door.c").read_text()
        self.assertIn(door[door.index("#include"):], list(blocks(OVERVIEW)))

    def test_programs_compile(self):
        programs = [(page, text) for page in PAGES for text in blocks(page)
                    if text.startswith("#include")]
        self.assertTrue(programs)
        for page, text in programs:
            run = subprocess.run(
                [os.environ["CC"], "-x", "c", "-std=c11", "-Wall", "-Wextra", "-Werror",
                 "-fsyntax-only", "-I", str(ROOT / "include"), "-"],
                input=text, text=True, stderr=subprocess.PIPE)
            self.assertEqual(run.returncode, 0, f"{name(page)}: {run.stderr}")

    def test_passages_are_from_the_examples(self):
        sources = [path.read_text() for path in sorted((ROOT / "examples").glob("*.c"))]
        for page in PAGES:
            for text in blocks(page):
                passage = {textwrap.indent(text, " " * columns) for columns in (0, 4)}
                self.assertTrue(text.startswith("#include")
                                or any(part in source for part in passage for source in sources),
                                f"{name(page)}: no example has\n{text}")


if __name__ == "__main__":
    unittest.main()
