# SPDX-License-Identifier: MIT
"""This tree, for what is built from a copy of it."""
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def names():
    """The files that git has, or would take."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others",
         "--exclude-standard"], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout
    return [name for name in listed.split("\0") if name and os.path.lexists(ROOT / name)]


def copy(folder):
    """All of them as they are now, changes included."""
    for name in names():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
