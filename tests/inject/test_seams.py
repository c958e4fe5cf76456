# SPDX-License-Identifier: MIT
"""What the library calls: each function either has a seam in inject.h, or is named here."""
import os
import re
import subprocess
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ["GATE_BUILD"])
PLAIN = os.environ["GATE_PLAIN_ARCHIVE"]

# Nothing that these do can fail for a reason outside of the program.
HARMLESS = set("""
    memchr memcmp bcmp memcpy memmem memmove memset
    strchr strcmp strcspn strlen strncmp strnlen strspn snprintf inet_ntop inet_pton
    secure_getenv clock_gettime clock_getres sched_yield freeaddrinfo sigemptyset sigfillset
    pthread_attr_destroy pthread_cond_destroy pthread_cond_signal pthread_cond_timedwait
    pthread_cond_wait pthread_condattr_destroy pthread_equal pthread_join pthread_mutex_destroy
    htonl htons ntohs sysconf
    pthread_mutex_lock pthread_mutex_unlock pthread_once pthread_self pthread_sigmask
""".split())

# These can, but not here, or it makes no difference.
EXCUSED = {
    "write": "to an eventfd that is never full, and does not block",
    "ppoll": "once the socket's own time-out has ended in vain; then the call is tried again",
    "if_nametoindex": "tests of faults ask for no zone; it sets errno",
    "pthread_atfork": "once in a program's life, and not again in these tests",
    "pthread_setname_np": "a thread without a name does its work all the same",
    "madvise": "where it fails, memory that nobody uses is kept: io/test_memory",
    **dict.fromkeys("open read getrlimit sysconf".split(),
                    "for the default of buffers_max, which goes without: io/test_memory"),
    "sigtimedwait": "its usual end is EAGAIN, and it is not looked at",
    **dict.fromkeys("""
        pthread_attr_init pthread_attr_setdetachstate pthread_cond_init
        pthread_condattr_init pthread_condattr_setclock pthread_mutex_init
        """.split(), "on Linux they only fill memory in"),
}

# What the compiler, the C library's headers and the sanitizers put in.
OF_TOOLS = re.compile(r"_GLOBAL_OFFSET_TABLE_|__(asan|ubsan|tsan|sanitizer)_\w+|__assert_fail"
                      r"|__errno_location|__stack_chk_fail|__tls_get_addr")


def seams():
    return set(re.findall(r"\bX\((\w+)\)", (HERE / "inject.h").read_text())) - {"name"}


def wanted(library):
    """What an archive leaves to others, as a program would write it."""
    listing = subprocess.run(["nm", "-P", "-g", str(library)], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    rows = [line.split() for line in listing.splitlines()]
    own = {row[0] for row in rows if len(row) > 1 and row[1] not in "Uw"}
    names = {row[0] for row in rows if len(row) > 1 and row[1] == "U"} - own
    names = {name for name in names if not OF_TOOLS.fullmatch(name)}
    return {re.sub(r"^__(\w+)_chk$", r"\1", name) for name in names}


class Seams(unittest.TestCase):
    def test_each_call_has_a_seam_or_a_reason(self):
        called = wanted(PLAIN)
        self.assertIn("accept4", called)
        self.assertFalse(called - seams() - HARMLESS - set(EXCUSED))

    def test_each_seam_is_called(self):
        called = wanted(PLAIN)
        missing = seams() - called
        if not any(name.startswith("io_uring") for name in called):
            missing = {name for name in missing if not name.startswith("io_uring")}
        self.assertFalse(missing)

    def test_the_copy_goes_through_the_seams(self):
        left = wanted(BUILD / "tests/inject/libgate_inject.a") & seams()
        self.assertFalse(left)


if __name__ == "__main__":
    unittest.main()
