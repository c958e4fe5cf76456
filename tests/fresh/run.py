# SPDX-License-Identifier: MIT
"""Runs the README's two commands, ./dev run and ./dev test, where nothing is installed yet.

Each run has a bare Debian of its own, which debootstrap makes from the Debian mirror that this
machine's apt uses. In it the tree lies in a home directory that nobody else may enter, once as root
and once as a user who has sudo, with 1024 descriptors at most. A Debian that was made is kept in
build/fresh, as are the packages that the commands install.

Exit code 1: something failed there. Exit code 77: no such Debian could be made, and why.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tree

RELEASES = {"12": "bookworm", "13": "trixie"}
USERS = ("root", "user")
WORK = tree.ROOT / "build/fresh"
DESCRIPTORS = 1024
NO_ROOT = 77
# Of the machine's apt: how it gets at its mirror.
APT_SETTINGS = re.compile(r"^Acquire::(https?::[\w:-]+|Check-Date|Check-Valid-Until) ", re.M)

# The devices of a container, and its own processes; then the commands, as whoever they are run by.
ENTER = r"""
set -e
[ "$3" = chroot ] || mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    : >dev/$name
    mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount --bind "$2" var/cache/apt/archives
how=$3
shift 3
if [ "$how" = pivot ]; then
    mkdir -p mnt/old
    pivot_root . mnt/old
    umount -l mnt/old
fi
exec chroot . "$@"
"""
COMMANDS = f"""
set -e
umask 022
ulimit -n {DESCRIPTORS}
cd libgate
for command in run test; do
    echo "\\$ ./dev $command"
    ./dev $command
done
"""


class NoRoot(Exception):
    """No bare Debian can be made here; the text says why."""


def say(text):
    print(f"fresh: {text}", flush=True)


def call(argv, log=None, **more):
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, text=True,
                          stdout=log or subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          **more)
    return done.returncode, done.stdout or ""


# ---- The machine's apt ------------------------------------------------------------------------

def stanzas(text):
    """The fields of each stanza of a .sources file."""
    for stanza in re.split(r"\n\s*\n", re.sub(r"^#.*\n?", "", text, flags=re.M)):
        yield {name.lower(): value.split()
               for name, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.M)}


def sources(folder=Path("/etc/apt")):
    """(address, suite, components) of everything that apt takes packages from."""
    for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))]:
        if path.suffix == ".sources" and path.is_file():
            for fields in stanzas(path.read_text()):
                if "deb" not in fields.get("types", ()) or fields.get("enabled") == ["no"]:
                    continue
                for address in fields.get("uris", ()):
                    for suite in fields.get("suites", ()):
                        yield address, suite, fields.get("components", [])
        elif path.suffix == ".list" and path.is_file():
            lines = re.findall(r"^deb[ \t]+(?:\[[^]\n]*\][ \t]+)?(\S+)[ \t]+(\S+)(.*)$",
                               path.read_text(), flags=re.M)
            for address, suite, components in lines:
                yield address, suite, components.split()


def mirror(release):
    """Where this machine gets Debian from."""
    found = [(suite, address) for address, suite, components in sources()
             if suite in RELEASES.values() and "main" in components]
    if not found:
        raise NoRoot("this machine's apt has no Debian mirror: none of its sources is for "
                     + " or ".join(RELEASES.values()))
    return dict(reversed(found)).get(release, found[0][1])


def apt_settings():
    _, dump = call(["apt-config", "dump"])
    return "".join(line + "\n" for line in dump.splitlines() if APT_SETTINGS.match(line))


# ---- A bare Debian ----------------------------------------------------------------------------

def bare(number):
    """The archive of a bare Debian."""
    archive, folder = WORK / f"debian-{number}.tar", WORK / f"debian-{number}"
    if archive.exists():
        return archive
    if not shutil.which("debootstrap"):
        raise NoRoot("there is no debootstrap")
    say(f"making a bare Debian {number}")
    release, log = RELEASES[number], WORK / f"debian-{number}.log"
    shutil.rmtree(folder, ignore_errors=True)
    with open(log, "w", encoding="utf-8") as file:
        status, _ = call(["debootstrap", "--variant=minbase", release, folder, mirror(release)],
                         log=file)
    if status:
        last = log.read_text().strip().splitlines()[-3:]
        raise NoRoot(f"debootstrap fails for {release} ({log}): " + "; ".join(last))
    # Moved to its name only when it is complete.
    status, output = call(["tar", "-C", folder, "--one-file-system", "-cf", f"{archive}.new", "."])
    if status:
        raise NoRoot(f"tar fails: {output}")
    shutil.rmtree(folder)
    os.rename(f"{archive}.new", archive)
    return archive


def unpack(number, root):
    archive = bare(number)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    status, output = call(["tar", "-C", root, "-xpf", archive])
    if status:
        raise NoRoot(f"tar fails: {output}")
    (root / "etc/apt/apt.conf.d/90machine").write_text(apt_settings())
    (root / "etc/apt/sources.list").write_text(
        f"deb {mirror(RELEASES[number])} {RELEASES[number]} main\n")
    for name in ("resolv.conf", "hosts"):
        if os.path.exists(f"/etc/{name}"):
            shutil.copy(f"/etc/{name}", root / "etc" / name)


# ---- The commands in it -----------------------------------------------------------------------

def enter(root, *argv, log):
    """Runs argv in there, with processes and mounts of its own, all of which end with it. For root
    it is a plain chroot; a user may not make namespaces there, and gets it mounted as the root."""
    how = "chroot" if root.name.endswith("-root") else "pivot"
    packages = root.parent / f"packages-{root.name.split('-')[0]}"
    (packages / "partial").mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items()
                   if name.lower() in ("http_proxy", "https_proxy", "no_proxy")}
    environment |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "LC_ALL": "C.UTF-8", "TERM": "dumb", "HOME": "/root"}
    return subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts",
         "--propagation", "private", "sh", "-c", ENTER, "sh", root, packages, how,
         *argv],
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment,
        check=False).returncode


def add_user(root, log):
    """Someone who may use sudo, as the installer makes them."""
    script = ("apt-get update && apt-get install -y --no-install-recommends sudo && "
              "useradd -m -s /bin/bash user && echo 'user ALL=(ALL) NOPASSWD: ALL' "
              ">/etc/sudoers.d/user")
    if enter(root, "env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", script, log=log):
        raise NoRoot(f"no user with sudo can be made in it ({log.name})")


def place_tree(root, user):
    home = root / ("root" if user == "root" else "home/user")
    tree.copy(home / "libgate")
    os.chmod(home, 0o700)
    owner = os.stat(home)
    status, output = call(["chown", "-R", f"{owner.st_uid}:{owner.st_gid}", home / "libgate"])
    assert status == 0, output


def command_line(user):
    if user == "root":
        return ["sh", "-c", "cd && " + COMMANDS]
    # As after a login: without the directories of root's programs.
    return ["runuser", "-u", "user", "--", "env", "HOME=/home/user", "USER=user",
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games", "sh", "-c",
            "cd && " + COMMANDS]


def try_one(number, user):
    """True: both commands do what they should."""
    root, begun = WORK / f"{number}-{user}", time.monotonic()
    log = WORK / f"{number}-{user}.log"
    unpack(number, root)
    with open(log, "w+", encoding="utf-8", errors="replace") as file:
        if user != "root":
            add_user(root, file)
        place_tree(root, user)
        say(f"Debian {number} as {user}: ./dev run, ./dev test; the log is {log}")
        status = enter(root, *command_line(user), log=file)
    text = log.read_text(errors="replace")
    told = re.findall(r"^\d+ passed, \d+ failed$", text, flags=re.M)
    good = status == 0 and "dev: all as it should be" in text and bool(told)
    if not good:
        print(text[-6000:])
    say(f"Debian {number} as {user}: {'good' if good else 'FAILED'}, "
        f"{told[-1] if told else 'no test was run'} ({time.monotonic() - begun:.0f} s)")
    if good:
        shutil.rmtree(root, ignore_errors=True)
    return good


def parse():
    parser = argparse.ArgumentParser(prog="./dev fresh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN",
                        help="12, 13, 12-root, 12-user and so on (default all)")
    runs = [f"{number}-{user}" for number in RELEASES for user in USERS]
    options = parser.parse_args()
    for word in options.runs:
        if word not in RELEASES and word not in runs:
            parser.error(f"no run is called {word}; there are {', '.join([*RELEASES, *runs])}")
    return [run.split("-") for run in runs
            if not options.runs or run in options.runs or run[:2] in options.runs]


def main():
    runs = parse()
    failed, unmade = [], []
    if os.geteuid():
        say("a bare Debian is made as root")
        sys.exit(NO_ROOT)
    WORK.mkdir(parents=True, exist_ok=True)
    for number, user in runs:
        try:
            if not try_one(number, user):
                failed.append(f"{number}-{user}")
        except NoRoot as reason:
            unmade.append(f"{number}-{user}")
            say(f"NOT CHECKED: Debian {number} as {user}: {reason}")
    print(json.dumps({"good": len(runs) - len(failed) - len(unmade), "failed": failed,
                      "not checked": unmade}))
    sys.exit(1 if failed else NO_ROOT if unmade else 0)


if __name__ == "__main__":
    main()
