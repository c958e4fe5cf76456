# SPDX-License-Identifier: MIT
"""Runs the simulator's seeds on all cores for some minutes, and says what they did.

Exit code 1: a seed broke a rule, a run ended badly, or a knob never fired."""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter

APART = 10 ** 12  # seeds between the first ones of two cores
GRACE = 60  # seconds for a run to end after its time


def start(program, first, seconds):
    """(process, its output's file) of one run of the seeds from first on."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("GATE_SEED", "GATE_SEEDS")}
    environment |= {"GATE_FIRST": str(first), "GATE_SECONDS": str(seconds), "GATE_TELL": "1"}
    output = tempfile.TemporaryFile("w+", errors="replace")
    return subprocess.Popen([program], env=environment, stdout=output,
                            stderr=subprocess.STDOUT), output


def finish(run, output, seconds):
    """(text, None or what went wrong) of a run."""
    wrong = None
    try:
        if run.wait(timeout=seconds):
            wrong = f"exit code {run.returncode}"
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()
        wrong = "does not come to an end"
    output.seek(0)
    return output.read(), wrong


def add(sums, knobs, output):
    """Adds the numbers that a run has told."""
    for what in ("seeds", "steps", "drains", "requests", "answers", "excused"):
        sums[what] += sum(map(int, re.findall(rf"^{what} (\d+)$", output, flags=re.M)))
    over = map(int, re.findall(r"^over_us (\d+)$", output, flags=re.M))
    sums["over_us"] = max(sums["over_us"], *over, 0)
    for count, knob in re.findall(r"^fired (\d+) (.+)$", output, flags=re.M):
        knobs[knob] += int(count)


def violations(output, wrong):
    """The lines that name a seed; a run that ended without one died of its last seed."""
    found = [line for line in output.splitlines() if "GATE_SEED=" in line]
    if found or wrong is None:
        return found
    told = re.findall(r"^seed (\d+)$", output, flags=re.M)
    last = "\n".join(line for line in output.splitlines()[-30:] if not line.startswith("seed "))
    return [f"{last}\n{wrong}; replay with GATE_SEED={told[-1] if told else '?'}"]


def main():
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__)
    parser.add_argument("--program", required=True, help=argparse.SUPPRESS)
    parser.add_argument("minutes", nargs="?", type=float, default=1, metavar="MINUTES")
    parser.add_argument("--first", type=int, help="the first seed (default: of the clock)")
    options = parser.parse_args()
    seconds = max(1, round(options.minutes * 60))
    first = int(time.time()) * 1000 if options.first is None else options.first
    begun = time.monotonic()
    runs = [start(options.program, first + core * APART, seconds)
            for core in range(os.cpu_count() or 1)]
    sums, knobs, bad = Counter(), Counter(), []
    for run, file in runs:
        left = begun + seconds + GRACE - time.monotonic()
        output, wrong = finish(run, file, max(1, left))
        add(sums, knobs, output)
        bad += violations(output, wrong)
    for knob in sorted(knobs):
        print(f"{knobs[knob]:14,} {knob}" + ("" if knobs[knob] else "   NEVER FIRED"))
    print(f"{sums['drains']:,} drains in the middle; of {sums['requests']:,} requests that had "
          f"reached the handler {sums['answers']:,} were answered (and {sums['excused']:,} more "
          "were in seeds where a timeout or a lack of memory may cost one); the end came at most "
          f"{sums['over_us'] / 1000:.1f} ms after its deadline")
    print(f"{sums['seeds']:,} seeds from {first} on, on {len(runs)} cores 10^12 apart, "
          f"{sums['steps']:,} steps, {time.monotonic() - begun:.0f} s, {len(bad)} violations")
    for line in bad:
        print(line)
    if bad or not knobs or not all(knobs.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
