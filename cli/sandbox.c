/* SPDX-License-Identifier: MIT */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exit.h"
#include "report.h"
#include "sandbox_close.h"
#include "sandbox_try.h"

/* ---- Rights -------------------------------------------------------------------------------- */

static int give_up_rights(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    if (syscall(SYS_capset, &head, none) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return errno;
    return 0;
}

/* ---- Files: Landlock ----------------------------------------------------------------------- */

/* As the newest kernels have it: what the headers know depends on their age. An older kernel takes
 * the whole struct if what it does not know is 0. */
typedef struct ruleset {
    uint64_t files;
    uint64_t ports;
    uint64_t scopes;
} ruleset;

/* All that this kernel's Landlock can take away. */
static ruleset everything(long version)
{
    enum { ALL_PORTS = 3 /* bind, connect */, ALL_SCOPES = 3 /* abstract sockets, signals */ };
    static const int file_rights[] = {0, 13, 14, 15, 15, 16};
    enum { KNOWN = sizeof(file_rights) / sizeof(file_rights[0]) - 1 };
    int count = file_rights[version < KNOWN ? version : KNOWN];

    return (ruleset){
        .files = (UINT64_C(1) << count) - 1,
        .ports = version >= 4 ? ALL_PORTS : 0,
        .scopes = version >= 6 ? ALL_SCOPES : 0,
    };
}

/* The right is about a folder, and what is below it: Landlock has no smaller one. Where we may not
 * even look nothing could be removed, so nothing has to be allowed. */
static int allow_removal(int rules, const char *file)
{
    struct landlock_path_beneath_attr beneath = {.allowed_access = LANDLOCK_ACCESS_FS_REMOVE_FILE};
    char folder[PATH_MAX];
    const char *slash = strrchr(file, '/');
    int len = slash == NULL ? 0 : (int)(slash - file), error = 0;

    if (len == 0)
        snprintf(folder, sizeof(folder), slash == NULL ? "." : "/");
    else
        snprintf(folder, sizeof(folder), "%.*s", len, file);
    beneath.parent_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (beneath.parent_fd < 0)
        return errno == EACCES ? 0 : errno;
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) != 0)
        error = errno;
    close(beneath.parent_fd);
    return error;
}

static int restrict_files(const sandbox_needs *needs, long version)
{
    ruleset all = everything(version);
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
    int error = 0;

    if (rules < 0)
        return errno;
    for (size_t i = 0; i < needs->file_count && error == 0; i++)
        error = allow_removal(rules, needs->file[i]);
    if (error == 0 && syscall(SYS_landlock_restrict_self, rules, 0) != 0)
        error = errno;
    close(rules);
    return error;
}

static int enter_landlock(const sandbox_needs *needs)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    if (version >= 0)
        return restrict_files(needs, version);
    if (errno != ENOSYS && errno != EOPNOTSUPP)
        return errno;
    report_line("gate-server: warning: this kernel has no Landlock: the sandbox is the filter of "
                "system calls alone");
    return 0;
}

/* ---- System calls: seccomp ----------------------------------------------------------------- */

/* clang-format off */
static const int allowed[] = {
    /* epoll_create and io_uring_setup are not here: there is what there is */
    SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(getpeername), SCMP_SYS(close),
    /* write is for output and to wake workers, poll for output; there is no read */
    SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(newfstatat), SCMP_SYS(fstat),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(getrandom),
    SCMP_SYS(futex), SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait), SCMP_SYS(restart_syscall),
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static const int deadly[] = {
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev), SCMP_SYS(io_uring_setup), SCMP_SYS(bpf), SCMP_SYS(userfaultfd),
    SCMP_SYS(perf_event_open), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(mount),
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(kexec_load),
};
/* clang-format on */

/* int arguments: the kernel takes no notice of the upper half, and so it may hold anything. */
#define HAS(index, mask, value) SCMP_CMP64(index, SCMP_CMP_MASKED_EQ, (uint32_t)(mask), value)
#define IS(index, value) HAS(index, UINT32_MAX, (uint32_t)(value))

typedef struct limited {
    int call;
    unsigned count;
    struct scmp_arg_cmp argument[2];
} limited;

static int allow_limited(scmp_filter_ctx filter)
{
    const limited calls[] = {
        {SCMP_SYS(sendto), 1, {SCMP_CMP64(4, SCMP_CMP_EQ, 0, 0)}}, /* to the peer, nowhere else */
        /* not for reading: a listener would become a socket that can connect, by a fast open */
        {SCMP_SYS(shutdown), 1, {IS(1, SHUT_WR)}},
        {SCMP_SYS(setsockopt), 2, {IS(1, SOL_SOCKET), IS(2, SO_LINGER)}}, /* a reset */
        {SCMP_SYS(ioctl), 1, {IS(1, SIOCOUTQ)}},
        {SCMP_SYS(ioctl), 1, {IS(1, TCGETS)}}, /* stdio: is it a terminal? */
        {SCMP_SYS(mmap), 1, {HAS(2, PROT_EXEC, 0)}},
        {SCMP_SYS(mprotect), 1, {HAS(2, PROT_EXEC, 0)}},
        {SCMP_SYS(tgkill), 1, {IS(0, getpid())}}, /* abort */
        {SCMP_SYS(io_uring_register), 1, {IS(1, IORING_REGISTER_ENABLE_RINGS)}},
        {SCMP_SYS(io_uring_register), 1, {IS(1, IORING_REGISTER_RING_FDS)}},
        {SCMP_SYS(io_uring_register), 1, {IS(1, IORING_UNREGISTER_RING_FDS)}},
    };
    int rc = 0;

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]) && rc == 0; i++)
        rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, calls[i].call, calls[i].count,
                                    calls[i].argument);
    return rc;
}

/* A thread of this process, in no new namespace. clone3 has its flags in memory, where a filter
 * does not see them: libc then takes clone. */
static int allow_threads(scmp_filter_ctx filter)
{
    enum { THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD };
    const uint32_t other = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                           CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE |
                           CLONE_UNTRACED | CLONE_VFORK;
    int rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

    if (rc < 0)
        return rc;
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                            HAS(0, THREAD | other, THREAD));
}

static int allow_files(scmp_filter_ctx filter)
{
    static const int calls[] = {SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(lstat)};
    int rc = 0;

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]) && rc == 0; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    return rc;
}

static int add_rules(scmp_filter_ctx filter, const sandbox_needs *needs)
{
    /* Another architecture's calls have other numbers, and nobody here makes them. */
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree: 5 steps, not 50 */
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && rc == 0; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]) && rc == 0; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    if (rc == 0)
        rc = allow_limited(filter);
    if (rc == 0 && needs->threads)
        rc = allow_threads(filter);
    if (rc == 0 && needs->file_count > 0)
        rc = allow_files(filter);
    return rc;
}

static int enter_seccomp(const sandbox_needs *needs)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc;

    if (filter == NULL)
        return ENOMEM;
    rc = add_rules(filter, needs);
    if (rc == 0)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    return -rc;
}

/* ---- Both ---------------------------------------------------------------------------------- */

static int fail(const char *what, int error)
{
    report_error("--sandbox: %s: %s", what, strerror(error));
    report_hint("a container's own filter may forbid it; without --sandbox it is not asked for");
    return GATE_EXIT_LOCAL;
}

static int fail_trial(const char *call)
{
    report_error("--sandbox: nothing can be served in it: %s: %s", call, strerror(errno));
    report_hint("this machine or its C library makes other system calls than the sandbox knows: "
                "start it without --sandbox");
    return GATE_EXIT_LOCAL;
}

int sandbox_prepare(void)
{
    int error = sandbox_close_others();

    return error != 0 ? fail("cannot close inherited descriptors", error) : 0;
}

int sandbox_enter(const sandbox_needs *needs)
{
    sandbox_trial trial;
    const char *failed;
    int error = sandbox_trial_begin(&trial);

    if (error != 0)
        return fail("cannot prepare a trial", error);
    error = give_up_rights();
    if (error != 0)
        return fail("cannot give up rights", error);
    error = enter_landlock(needs);
    if (error != 0)
        return fail("Landlock is unavailable", error);
    error = enter_seccomp(needs);
    if (error != 0)
        return fail("seccomp is unavailable", error);
    failed = sandbox_trial_end(&trial, needs->threads);
    return failed != NULL ? fail_trial(failed) : 0;
}
