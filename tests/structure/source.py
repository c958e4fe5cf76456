# SPDX-License-Identifier: MIT
"""The sources as the structural tests look at them."""
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(os.environ["GATE_SOURCE"])
BUILD = Path(os.environ["GATE_BUILD"])
FOLDERS = ("include", "lib", "cli", "examples", "tests", "cmake")
HEADER = ROOT / "include/gate/gate.h"


def files(*suffixes, under=FOLDERS):
    """The files below some folders with one of these suffixes."""
    found = []
    for folder in under:
        found += [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in suffixes]
    return found


def name(path):
    return str(path.relative_to(ROOT))


TOKEN = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def code(path, keep_strings=False):
    """The text of a C file with blank comments and empty strings; lines keep their numbers."""
    def blank(found):
        token = found[0]
        if token.startswith("/"):
            return re.sub(r"[^\n]", " ", token)
        return token if keep_strings else token[0] * 2
    return TOKEN.sub(blank, path.read_text())


def includes(path):
    """(opening bracket or quote, name) of each #include."""
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]',
                      code(path, keep_strings=True), flags=re.M)


def prototypes():
    """The names declared with GATE_API in the public header."""
    declared = re.findall(r"^GATE_API\s[^;]*;", code(HEADER), flags=re.M)
    return {re.search(r"(\w+)\s*\(", text)[1] for text in declared}


def symbols(path, *options):
    """(kind, name) of each symbol that nm lists for an object, archive or library."""
    listing = subprocess.run(["nm", "-P", *options, str(path)], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    # Member lines of an archive end with a colon, and have one field.
    rows = [line.split() for line in listing.splitlines()]
    return {(row[1], row[0]) for row in rows if len(row) > 1}
