# SPDX-License-Identifier: MIT
"""Plants known mistakes into copies of this tree, one at a time, and shows which test catches each.

A patch in this directory begins with the mistake in plain words, then "tests: " and the tests that
should catch it; the first one that does ends the search. Everything is built with the address and
undefined-behaviour sanitizers, in one copy of the tree more than there are cores: some compile
while the tests of others wait. Exit code 1: a mistake was missed, or a patch or a test is not fit.
"""
import argparse
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import tree as files

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


def build(tree, tests, jobs=1):
    call(["cmake", "--build", "../build", "-j", str(jobs), "--target",
          *[test.replace("/", "_") for test in tests]], tree)


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
        for test in mutant.tests:
            build(tree, [test])
            how = judge(tree, test)
            if how is not None:
                return f"{test}: {how}"
        return None
    finally:
        call(["git", "apply", "-R", mutant.path], tree)


def prepare(tree, tests):
    """A copy of the tree and a build of it."""
    tree.mkdir(parents=True)
    files.copy(tree)
    call(["cmake", "-S", ".", "-B", "../build", *CONFIGURE], tree)
    build(tree, tests)
    return tree


def check(tree, test):
    """Without any mistake a test passes: otherwise its failing would say nothing."""
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


class Trees:
    """Copies, each of which one thread at a time uses."""

    def __init__(self, folder, count):
        self.folder, self.count, self.free = folder, count, queue.SimpleQueue()
        self.pool = ThreadPoolExecutor(count)

    def prepare(self, tests):
        trees = [self.folder / str(number) / "tree" for number in range(self.count)]
        for tree in self.pool.map(lambda tree: prepare(tree, tests), trees):
            self.free.put(tree)

    def each(self, call_one, items):
        """call_one(tree, item) for all items; the results as they come."""
        def borrow(item):
            tree = self.free.get()
            try:
                return call_one(tree, item)
            finally:
                self.free.put(tree)
        return self.pool.map(borrow, items)


printing = threading.Lock()


def try_one(tree, mutant):
    """Says how a mutant was caught. False: it was missed, or is not fit."""
    begun = time.monotonic()
    try:
        found = plant(tree, mutant)
        verdict = f"CAUGHT {found}" if found else f"MISSED by {' '.join(mutant.tests)}"
    except (Unfit, subprocess.TimeoutExpired) as error:
        found, verdict = None, f"UNFIT  {error}"
    with printing:
        print(f"{mutant.path.stem:34} {verdict} ({time.monotonic() - begun:.0f} s)", flush=True)
    return found is not None


def main():
    parser = argparse.ArgumentParser(prog="./dev mutants", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a patch's name")
    names = parser.parse_args().names
    begun = time.monotonic()
    try:
        mutants = chosen(names)
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        cores = len(os.sched_getaffinity(0))
        with tempfile.TemporaryDirectory(prefix="gate-mutants-") as folder:
            trees = Trees(Path(folder), min(cores + 1, len(mutants)))
            trees.prepare(tests)
            list(trees.each(check, tests))
            prepared = time.monotonic() - begun
            caught = sum(trees.each(try_one, mutants))
    except Unfit as error:
        sys.exit(f"mutants: {error}")
    took = time.monotonic() - begun
    print(f"{len(mutants)} planted, {caught} caught; {took:.0f} s on {cores} cores, of which "
          f"{prepared:.0f} s to build and run the tests without a mistake")
    if caught < len(mutants):
        sys.exit(1)


if __name__ == "__main__":
    main()
