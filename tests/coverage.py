# SPDX-License-Identifier: MIT
"""Shows which share of lib/ the tests reached, from gcovr's --json-summary. Exit code 1 where a
folder has less than it must have."""
import json
import sys
from collections import Counter
from pathlib import PurePath

LEAST = {"lib/core": (95.0, 90.0), "lib/io": (95.0, 90.0)}  # of lines, of branches
KEYS = ("line_covered", "line_total", "branch_covered", "branch_total")


def share(covered, total):
    return 100.0 * covered / total if total else 100.0


def show(name, counts):
    """Returns the two percentages of the row."""
    shares = []
    cells = [f"{name:<28}"]
    for kind in ("line", "branch"):
        covered, total = counts[f"{kind}_covered"], counts[f"{kind}_total"]
        shares.append(share(covered, total))
        cells.append(f"{covered:6} of {total:5} {shares[-1]:6.1f} %")
    print("  ".join(cells))
    return shares


def main(path):
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)["files"]
    sums = {}
    print(f"{'':28}  {'lines':>23}  {'branches':>23}")
    for row in sorted(rows, key=lambda row: row["filename"]):
        counts = Counter({key: row[key] for key in KEYS})
        show(row["filename"], counts)
        folder = str(PurePath(row["filename"]).parent)
        sums[folder] = sums.get(folder, Counter()) + counts
    status = 0
    for folder, counts in sorted(sums.items()):
        shares = show(folder, counts)
        for kind, has, least in zip(("lines", "branches"), shares, LEAST.get(folder, (0, 0))):
            if has < least:
                print(f"{folder} must have {least:.0f} % of its {kind}")
                status = 1
    missing = LEAST.keys() - sums.keys()
    if missing:
        print(f"nothing was measured of {', '.join(sorted(missing))}")
    return 1 if missing else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
