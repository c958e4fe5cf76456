# SPDX-License-Identifier: MIT
"""Plants known mistakes into a copy of this tree, one at a time, and shows which test catches each.

A patch beside this file begins with the mistake in plain words, then "tests: " and the tests that
should catch it; the first one that does ends the search. All is built with the address and
undefined-behaviour sanitizers. Exit code 1: a mistake was missed, or a patch or a test is not fit.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TEST_SECONDS = 100
BUILD_SECONDS = 900
CONFIGURE = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_C_FLAGS_DEBUG=-O1 -g1",
             "-DGATE_SANITIZE=address,undefined", "-DGATE_TESTS=ON", "-DGATE_PROGRAMS=OFF",
             "-DGATE_EXAMPLES=OFF", "-DGATE_INSTALL=OFF"]

Mutant = namedtuple("Mutant", "path sentence tests")


class Unfit(Exception):
    """The mutant or the tree cannot be judged; the text says why."""


def read(path):
    sentence, tests = path.read_text().splitlines()[:2]
    if not tests.startswith("tests: "):
        raise Unfit(f"{path.name}: the second line is not \"tests: ...\"")
    return Mutant(path, sentence, tests.split()[1:])


def call(arguments, folder, seconds=BUILD_SECONDS):
    """Runs a step that has to succeed."""
    # A copy inside another repository must not be taken for a part of it.
    environment = dict(os.environ, GIT_CEILING_DIRECTORIES=str(folder.parent))
    run = subprocess.run(arguments, cwd=folder, env=environment, text=True, timeout=seconds,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    if run.returncode:
        raise Unfit(f"{' '.join(map(str, arguments[:2]))}: {run.stdout[-2000:]}")


def copy_tree(tree):
    """The tracked files as they are now, changes included."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)


def build(tree, tests):
    call(["cmake", "--build", "../build", "--target", *[test.replace("/", "_") for test in tests]],
         tree)


def say_how(output):
    """What a failed test shows, in a few words."""
    told = re.findall(r"^seed (\d+)$", output, flags=re.M)
    words = []
    if "LeakSanitizer" in output and not re.search(r"\[  (FAILED|ERROR) ", output):
        return "memory leaks"
    if told:  # the seeds begin with 1, so this is also how many it took
        failed = re.findall(r"GATE_SEED=(\d+)", output) + told[-1:]
        words.append(f"seed {failed[0]}")
    for pattern in (r"ERROR: AddressSanitizer: ([\w-]+)", r"(Assertion) `", r"runtime error: (.*)",
                    r"sim: (.*?) \(at ", r"\[  (?:FAILED|ERROR) +\] (test_\w+)"):
        found = re.search(pattern, output)
        if found:
            words.append(found[1])
            break
    return ", ".join(words)


def judge(tree, test):
    """How a test fails, or None where it passes."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("GATE_")}
    # Where a backend has mistakes planted, it is the one that every kernel runs, but for those of
    # io_uring; the programs of tests/inject choose for themselves.
    environment |= {"GATE_TELL": "1", "GATE_IO": "epoll"}
    run = subprocess.Popen([tree.parent / "build/tests" / test], env=environment, text=True,
                           errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
    try:
        output, _ = run.communicate(timeout=TEST_SECONDS)
    except subprocess.TimeoutExpired:
        run.kill()
        output, _ = run.communicate()
        return f"{say_how(output)} does not come to an end".strip()
    if not run.returncode:
        return None
    return say_how(output) or f"exit code {run.returncode}"


def plant(tree, mutant):
    """What catches a mutant, or None."""
    call(["git", "apply", mutant.path], tree)
    try:
        build(tree, mutant.tests)
        for test in mutant.tests:
            how = judge(tree, test)
            if how is not None:
                return f"{test}: {how}"
        return None
    finally:
        call(["git", "apply", "-R", mutant.path], tree)


def prepare(tree, tests):
    """A build in which every test passes, without which failing would say nothing."""
    copy_tree(tree)
    call(["cmake", "-S", ".", "-B", "../build", *CONFIGURE], tree)
    build(tree, tests)
    for test in tests:
        how = judge(tree, test)
        if how is not None:
            raise Unfit(f"{test} fails without any mistake: {how}")


def chosen(names):
    """The mutants whose names have one of these words in them; all where there is none."""
    paths = sorted(HERE.glob("*.patch"))
    for name in names:
        if not any(name in path.stem for path in paths):
            raise Unfit(f"no mutant is called {name}")
    return [read(path) for path in paths
            if not names or any(name in path.stem for name in names)]


def run_all(mutants, tree):
    """How many of them are missed or unfit."""
    bad = 0
    for mutant in mutants:
        begun = time.monotonic()
        try:
            found = plant(tree, mutant)
            verdict = f"CAUGHT {found}" if found else f"MISSED by {' '.join(mutant.tests)}"
        except (Unfit, subprocess.TimeoutExpired) as error:
            found, verdict = None, f"UNFIT  {error}"
        bad += found is None
        print(f"{mutant.path.stem:34} {verdict} ({time.monotonic() - begun:.0f} s)", flush=True)
    return bad


def main():
    parser = argparse.ArgumentParser(prog="./dev mutants", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a patch's name")
    names = parser.parse_args().names
    try:
        mutants = chosen(names)
        with tempfile.TemporaryDirectory(prefix="gate-mutants-") as folder:
            tree = Path(folder) / "tree"
            tree.mkdir()
            prepare(tree, sorted({test for mutant in mutants for test in mutant.tests}))
            bad = run_all(mutants, tree)
    except Unfit as error:
        sys.exit(f"mutants: {error}")
    print(f"{len(mutants)} planted, {len(mutants) - bad} caught")
    if bad:
        sys.exit(1)


if __name__ == "__main__":
    main()
