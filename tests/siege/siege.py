# SPDX-License-Identifier: MIT
"""Hostile peers and a meagre machine, for real, against gate-server on each backend.

All of it happens in a network of its own. Exit code 1: something did not hold."""
import argparse
import os
import subprocess
import sys
import time

CASES = {"crowd": "crowds", "storm": "crowds", "deaf": "crowds", "greedy": "crowds",
         "descriptors": "scarcity", "signals": "signals", "denied": "scarcity", "log": "scarcity",
         "lossy": "lossy"}


def parse():
    parser = argparse.ArgumentParser(prog="./dev siege", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="NAME",
                        help="which of %s (default all)" % ", ".join(CASES))
    parser.add_argument("--quick", action="store_true",
                        help="a short run; how much slower honest clients get is not judged")
    parser.add_argument("--build", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--late-handlers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in options.cases:
        if name not in CASES:
            parser.error("no case %s; there are %s" % (name, ", ".join(CASES)))
    return options


def prepare(build):
    """The environment of the programs: what is built there, and no backend but the one asked for"""
    os.environ.pop("GATE_IO", None)
    for name in ("server", "client", "bench"):
        os.environ["GATE_" + name.upper()] = os.path.join(build, "cli/gate-" + name)


def enter_network():
    """Runs this program anew in a network of its own; as a user who is not root in a user namespace
    too."""
    from harness import alone  # which wants the environment
    os.environ["GATE_SIEGE"] = "inside"
    argv = alone(sys.executable, "-B", *sys.argv)
    if subprocess.run([*argv[:2], "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        sys.exit("siege: every case needs root, or user namespaces for those who are not: "
                 "networks of their own are made")
    os.execvp(argv[0], argv)


def find_backends(server):
    """io_uring may be switched off or not built in."""
    tried = subprocess.run([server, "-q", "-l", "192.0.2.1:1", "--io", "io_uring"],
                           stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if tried.returncode == 8:
        print("io_uring is left out: " + tried.stderr.decode().strip())
        return ["epoll"]
    return ["epoll", "io_uring"]


def play(name, options, backends):
    """"held", "not held" or "left out"."""
    from stage import LeftOut, Stage
    case = getattr(__import__(CASES[name]), name)
    stage = Stage(options.build, options.quick, backends, options.late_handlers)
    print("%s: %s\n" % (name, case.__doc__), flush=True)
    begun = time.monotonic()
    try:
        case(stage)
    except LeftOut as reason:
        print("%s: left out: %s\n" % (name, reason), flush=True)
        return "left out"
    except (AssertionError, OSError, subprocess.SubprocessError, ValueError) as error:
        stage.check(False, "broke off: %s: %s" % (type(error).__name__, error))
    verdict = "not held" if stage.problems else "held"
    print("%s: %s (%.0f s)" % (name, verdict.upper() if stage.problems else verdict,
                               time.monotonic() - begun))
    for problem in stage.problems:
        print("  " + problem)
    print(flush=True)
    return verdict


def main():
    options = parse()
    options.build = os.path.abspath(options.build)
    prepare(options.build)
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
    if "GATE_SIEGE" not in os.environ:
        enter_network()
    backends = find_backends(os.environ["GATE_SERVER"])
    ended = {name: play(name, options, backends) for name in options.cases or CASES}
    for verdict in ("held", "not held", "left out"):
        names = [name for name in ended if ended[name] == verdict]
        if names:
            print("%s: %s" % (verdict, ", ".join(names)))
    sys.exit(1 if "not held" in ended.values() else 0)


if __name__ == "__main__":
    main()
