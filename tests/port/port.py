# SPDX-License-Identifier: MIT
"""Builds libgate for other machines, and runs what was built: the tests of lib/core, and a server
that is asked. Debian's cross compilers build, QEMU runs what this machine cannot; libraries of the
other machines are unpacked below build/port, and nothing of this system changes."""
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import smoke

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build/port"
LIBRARIES = ("libcmocka-dev", "libcmocka0", "liburing-dev", "liburing2", "libseccomp-dev",
             "libseccomp2")


# It tries all inputs of three bytes, which takes minutes in QEMU; i686 and musl run it.
SLOW = "^core/test_escape$"


class Target:
    """A machine: its compiler, Debian's name for it (None: there are no packages for it), and what
    runs its programs."""

    def __init__(self, triple, arch=None, qemu=None, compiler=None, flags="", tests="^core/"):
        self.triple, self.arch, self.qemu, self.flags, self.tests = triple, arch, qemu, flags, tests
        self.compiler = compiler or f"{triple}-gcc"

    def libraries(self):
        """The folder that its libraries are unpacked in."""
        return next((WORK / "root" / self.arch / "usr/lib").glob("*-linux-*"))

    def runner(self):
        """What stands before a program's name to run it."""
        if self.arch is None:
            return []
        path = f"{self.libraries()}:/usr/{self.triple}/lib"
        if self.qemu is not None:
            return [self.qemu, "-L", f"/usr/{self.triple}", "-E", f"LD_LIBRARY_PATH={path}"]
        return [str(next(Path(f"/usr/{self.triple}/lib").glob("ld-linux*"))), "--library-path",
                path]


# i686 runs on x86-64 as it is, and there the backends are tried too. i486 has no atomic 8-byte
# integers, as ARM before version 7 and MIPS: it needs libatomic.
TARGETS = {
    "i686": Target("i686-linux-gnu", "i386", tests="^(core/|io/test_io)"),
    "i486": Target("i686-linux-gnu", "i386", flags="-march=i486"),
    "armhf": Target("arm-linux-gnueabihf", "armhf", "qemu-arm"),
    "aarch64": Target("aarch64-linux-gnu", "arm64", "qemu-aarch64"),
    "s390x": Target("s390x-linux-gnu", "s390x", "qemu-s390x"),
    "musl": Target("x86_64-linux-musl", compiler="musl-gcc"),
    # This machine's own compiler, with link-time optimisation.
    "lto": Target(None, flags="-flto",
                  tests="^(core/|sim/test_(server|costs)|inject/test_(memory|seams))"),
}


def run(*command, log=None, **more):
    """Runs a command that has to succeed; what it said is shown if it does not."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    if log is not None:
        with open(log, "ab") as file:
            file.write(done.stdout)
    if done.returncode != 0:
        sys.stdout.buffer.write(done.stdout[-8000:])
        raise SystemExit(f"port: {' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout


# ---- Libraries ---------------------------------------------------------------------------------

def sources():
    """The system's package sources, for sources of packages as well."""
    folder = WORK / "apt/sources"
    folder.mkdir(parents=True, exist_ok=True)
    lists = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    for path in lists:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text()
        text = re.sub(r"^Types:.*$", "Types: deb deb-src", text, flags=re.M)
        text += "\n" + re.sub(r"^deb ", "deb-src ", text, flags=re.M) \
            if path.suffix == ".list" else ""
        (folder / path.name).write_text(text)
    return folder


def prepare_apt(names):
    """An apt of our own, that knows the other machines."""
    state = WORK / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    arches = "".join(f'"{arch}"; ' for arch in sorted(names))
    (state / "apt.conf").write_text(f"""
        Dir::State "{state}"; Dir::State::status "{state}/status"; Dir::Cache "{state}/cache";
        Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "{sources()}";
        #clear APT::Architectures;
        APT::Architectures {{ {arches} }};
        APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "3";
        """)
    os.environ["APT_CONFIG"] = str(state / "apt.conf")
    # An index that cannot be fetched (a mirror that is just being updated) may not be needed.
    subprocess.run(["apt-get", "update"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False)


def unpack(arch):
    """The libraries of one machine into root/ARCH."""
    root, packages = WORK / "root" / arch, WORK / "apt/packages" / arch
    for folder in (root, packages):
        folder.mkdir(parents=True, exist_ok=True)
    run("apt-get", "download", "-q", *[f"{name}:{arch}" for name in LIBRARIES], cwd=packages)
    for package in packages.glob("*.deb"):
        run("dpkg", "-x", package, root)


def build_cmocka(target, root):
    """cmocka from its source, where no package has it."""
    folder = WORK / "cmocka"
    folder.mkdir(parents=True, exist_ok=True)
    run("apt-get", "source", "-q", "--download-only", "cmocka", cwd=folder)
    run("tar", "-xf", next(folder.glob("*.orig.tar.*")), "--strip-components=1", cwd=folder)
    run("cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_C_COMPILER={target.compiler}",
        "-DBUILD_SHARED_LIBS=OFF", "-DWITH_EXAMPLES=OFF", "-DCMAKE_INSTALL_LIBDIR=lib",
        f"-DCMAKE_INSTALL_PREFIX={root}/usr")
    run("cmake", "--build", folder / "build")
    run("cmake", "--install", folder / "build")


def fetch(names):
    """What these targets need and is not there yet."""
    roots = {}
    for name in names:
        target = TARGETS[name]
        root = WORK / "root" / (target.arch or target.triple or "")
        if target.triple and not (root / "complete").exists():
            roots[root] = target
    if not roots:
        return
    native = run("dpkg", "--print-architecture").decode().strip()
    prepare_apt({native} | {target.arch for target in roots.values() if target.arch})
    for root, target in roots.items():
        if target.arch is not None:
            unpack(target.arch)
        else:
            build_cmocka(target, root)
        (root / "complete").touch()


# ---- Building and running ----------------------------------------------------------------------

def toolchain(name, target):
    """CMake's options, among them a toolchain file, and the environment that goes with it."""
    if target.triple is None:
        return [f"-DCMAKE_C_FLAGS={target.flags}"], os.environ
    root = WORK / "root" / (target.arch or target.triple)
    libdir = target.libraries() if target.arch else root / "usr/lib"
    path = WORK / f"{name}.cmake"
    runner = ";".join(target.runner())
    text = f"""
set(CMAKE_C_COMPILER {target.compiler})
set(CMAKE_C_FLAGS_INIT "-Wno-psabi {target.flags}")
set(CMAKE_CROSSCOMPILING_EMULATOR "{runner}")
set(CMAKE_FIND_ROOT_PATH "{root}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,{libdir}")
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR {target.triple.split('-')[0]})
"""
    path.write_text(text)
    return [f"-DCMAKE_TOOLCHAIN_FILE={path}"], {
        **os.environ,
        "PKG_CONFIG_LIBDIR": str(libdir / "pkgconfig"),
        "PKG_CONFIG_SYSROOT_DIR": "" if target.arch is None else str(root)}


def build(name, target):
    """Configures and builds into build/port/NAME."""
    folder, log = WORK / name, WORK / f"{name}.log"
    log.write_bytes(b"")
    options, environment = toolchain(name, target)
    run("cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", *options,
        "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DCMAKE_C_FLAGS_RELWITHDEBINFO=-O2 -g1",
        "-DGATE_SANDBOX=OFF", env=environment, log=log)
    tests = subprocess.run(["ninja", "-C", str(folder), "-t", "targets", "all"], check=True,
                           text=True, stdout=subprocess.PIPE).stdout
    programs = [program for program in re.findall(r"^(\w+_test_\w+): phony$", tests, flags=re.M)
                if re.search(target.tests, program.replace("_test_", "/test_", 1))]
    run("cmake", "--build", folder, "-j", os.cpu_count() or 1, "--target", "gate_shared",
        "gate_static", "gate-server", "gate-client", "gate-bench", *programs, env=environment,
        log=log)
    return folder


def check(name, compile_only):
    """One target, all of it."""
    target = TARGETS[name]
    folder = build(name, target)
    if not compile_only:
        slow = ["-E", SLOW] if target.qemu else []
        output = run("ctest", "--test-dir", folder, "-R", target.tests, *slow, "-j",
                     os.cpu_count() or 1, "--output-on-failure", "--no-tests=error",
                     log=WORK / f"{name}.log").decode()
        print(f"port: {name}: {re.search(r'.*tests passed.*', output)[0]}", flush=True)
        for line in smoke.run(target.runner(), folder / "cli"):
            print(f"port: {name}: {line}", flush=True)
    else:
        print(f"port: {name}: builds", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile-only", action="store_true")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=" ".join(TARGETS))
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {' '.join(sorted(unknown))}; there are {' '.join(TARGETS)}")
    names = arguments.targets or list(TARGETS)
    fetch(names)
    for name in names:
        check(name, arguments.compile_only)


if __name__ == "__main__":
    main()
