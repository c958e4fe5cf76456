/* SPDX-License-Identifier: MIT */

/* What somebody who runs code inside of a sandboxed server cannot do: each act is tried by the
 * handler of a server that serves, on the thread of a worker, and first without the sandbox, where
 * it has to be possible. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef GATE_HAVE_URING
#include <liburing.h>
#endif

#include <gate/gate.h>

#include "sandbox.h"

enum { KILLED = -1, NO_RING = -2, WAIT_MS = 20000 };

/* ---- The acts: 0 or an errno --------------------------------------------------------------- */

static char folder[64];          /* of the test */
static char file[PATH_MAX];      /* in it */
static char other[PATH_MAX];     /* a file that does not exist yet */
static int spare = -1;           /* a TCP socket from before the sandbox */
static int datagrams = -1;       /* and a UDP one */
static int chosen = -1;          /* and one with a peer */
static struct sockaddr_in there; /* the server's own port */
#ifdef GATE_HAVE_URING
static struct io_uring ring = {.ring_fd = -1};
#endif

static int errno_of(long rc)
{
    return rc < 0 ? errno : 0;
}

static int open_file(void)
{
    return errno_of(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int write_file(void)
{
    return errno_of(open(file, O_WRONLY | O_TRUNC | O_CLOEXEC));
}

static int make_file(void)
{
    return errno_of(open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int remove_file(void)
{
    return errno_of(unlink(file));
}

static int rename_file(void)
{
    return errno_of(rename(file, other));
}

static int list_folder(void)
{
    return errno_of(open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int open_socket(void)
{
    return errno_of(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int connect_out(void)
{
    return errno_of(connect(spare, (struct sockaddr *)&there, sizeof(there)));
}

static int send_out(void)
{
    return errno_of(sendto(datagrams, "x", 1, 0, (struct sockaddr *)&there, sizeof(there)));
}

/* The peer was chosen before: only the closing of the socket stands against it. */
static int send_to_a_chosen_one(void)
{
    return errno_of(send(chosen, "x", 1, 0));
}

#ifdef GATE_HAVE_URING
/* By a ring that is not the server's: the kernel looks at each one alike. */
static int send_through_ring(int fd, int flags)
{
    struct io_uring_sqe *sqe;
    struct io_uring_cqe *cqe;
    int rc;

    if (ring.ring_fd < 0)
        return NO_RING;
    sqe = io_uring_get_sqe(&ring);
    if (sqe == NULL)
        return ENOBUFS;
    io_uring_prep_send(sqe, fd, "x", 1, flags);
    sqe->addr2 = (uint64_t)(uintptr_t)&there;
    sqe->addr_len = sizeof(there);
    rc = io_uring_submit_and_wait(&ring, 1);
    if (rc < 0 || io_uring_peek_cqe(&ring, &cqe) != 0)
        return -rc;
    rc = cqe->res;
    io_uring_cqe_seen(&ring, cqe);
    return rc < 0 ? -rc : 0;
}

static int send_out_through_ring(void)
{
    return send_through_ring(datagrams, 0);
}

static int send_to_a_chosen_one_through_ring(void)
{
    return send_through_ring(chosen, 0);
}

/* With a fast open a send connects. */
static int connect_through_ring(void)
{
    int error = send_through_ring(spare, MSG_FASTOPEN | MSG_DONTWAIT);

    return error == EINPROGRESS ? 0 : error;
}
#endif

static int bind_port(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};

    return errno_of(bind(spare, (struct sockaddr *)&any, sizeof(any)));
}

/* A socket that was shut down for reading too could be connected elsewhere. */
static int shut_down_reading(void)
{
    int error = errno_of(shutdown(spare, SHUT_RD));

    return error == ENOTCONN ? 0 : error;
}

static int set_option(void)
{
    int one = 1;

    return errno_of(setsockopt(spare, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)));
}

static int receive_descriptor(void)
{
    struct msghdr message = {0};
    int error = errno_of(recvmsg(datagrams, &message, MSG_DONTWAIT));

    return error == EAGAIN ? 0 : error;
}

static int start_process(void)
{
    pid_t child = fork();

    if (child == 0)
        _exit(0);
    return errno_of(child);
}

static int signal_parent(void)
{
    return errno_of(kill(getppid(), 0));
}

static int signal_parents_thread(void)
{
    return errno_of(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int become_root(void)
{
    return errno_of(syscall(SYS_setresuid, 0, 0, 0));
}

static int change_root(void)
{
    return errno_of(chroot(folder));
}

static int map_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
               ? errno
               : 0;
}

static int write_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return 0;
    return errno_of(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int type_into_terminal(void)
{
    int error = errno_of(ioctl(spare, TIOCSTI, "x"));

    return error == ENOTTY ? 0 : error;
}

static int watch_events_anew(void)
{
    return errno_of(syscall(SYS_epoll_create1, 0));
}

static int raise_limit(void)
{
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};

    return errno_of(setrlimit(RLIMIT_NOFILE, &limit));
}

static int run_program(void)
{
    char *const none[] = {NULL};

    return errno_of(execve("/nowhere", none, none));
}

static int run_program_of_descriptor(void)
{
    return errno_of(syscall(SYS_execveat, -1, "", NULL, NULL, 0));
}

static int trace_process(void)
{
    return errno_of(ptrace(PTRACE_CONT, getppid(), NULL, NULL));
}

static int write_into_process(void)
{
    return errno_of(process_vm_writev(getppid(), NULL, 0, NULL, 0, 0));
}

static int make_ring(void)
{
    struct io_uring_params params = {0};

    return errno_of(syscall(SYS_io_uring_setup, 1, &params));
}

static int load_bpf(void)
{
    union bpf_attr attributes = {0};

    return errno_of(syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes)));
}

static int leave_namespace(void)
{
    return errno_of(unshare(CLONE_NEWUSER));
}

#ifdef __x86_64__
static int use_other_calls(void)
{
    return errno_of(syscall(0x40000000 | SYS_getpid)); /* x32's */
}
#endif

typedef struct act {
    const char *name;
    int (*run)(void);
    int expected; /* an errno, or KILLED */
    int for_root; /* without the sandbox only root can do it */
} act;

static const act acts[] = {
    {"open a file", open_file, EPERM, 0},
    {"write a file", write_file, EPERM, 0},
    {"make a file", make_file, EPERM, 0},
    {"remove a file", remove_file, EPERM, 0},
    {"rename a file", rename_file, EPERM, 0},
    {"list a folder", list_folder, EPERM, 0},
    {"open a socket", open_socket, EPERM, 0},
    {"connect", connect_out, EPERM, 0},
    {"send elsewhere", send_out, EPERM, 0},
    {"send to a peer of before", send_to_a_chosen_one, EBADF, 0},
#ifdef GATE_HAVE_URING
    {"send elsewhere through a ring", send_out_through_ring, EBADF, 0},
    {"send to a peer of before through a ring", send_to_a_chosen_one_through_ring, EBADF, 0},
    {"connect through a ring", connect_through_ring, EBADF, 0},
#endif
    {"bind a port", bind_port, EPERM, 0},
    {"shut down for reading", shut_down_reading, EPERM, 0},
    {"set a socket's option", set_option, EPERM, 0},
    {"receive a descriptor", receive_descriptor, EPERM, 0},
    {"start a process", start_process, EPERM, 0},
    {"signal another process", signal_parent, EPERM, 0},
    {"signal another's thread", signal_parents_thread, EPERM, 0},
    {"become root", become_root, EPERM, 1},
    {"change the root", change_root, EPERM, 1},
    {"map code", map_code, EPERM, 0},
    {"write code", write_code, EPERM, 0},
    {"type into a terminal", type_into_terminal, EPERM, 0},
    {"make an epoll", watch_events_anew, EPERM, 0},
    {"change a limit", raise_limit, EPERM, 0},
    {"run a program", run_program, KILLED, 0},
    {"run a descriptor", run_program_of_descriptor, KILLED, 0},
    {"trace another process", trace_process, KILLED, 0},
    {"write into another process", write_into_process, KILLED, 0},
    {"make a ring", make_ring, KILLED, 0},
    {"load a program into the kernel", load_bpf, KILLED, 0},
    {"leave the namespace", leave_namespace, KILLED, 0},
#ifdef __x86_64__
    {"another architecture's calls", use_other_calls, KILLED, 0},
#endif
};

/* ---- A server whose handler tries one ------------------------------------------------------ */

typedef struct trial {
    const act *act;
    const sandbox_needs *needs; /* NULL: no sandbox */
    uint32_t io;
} trial;

static void try_act(gate_request *req, const void *body, size_t len, void *user)
{
    const act *tried = user;
    char text[16];

    (void)body;
    (void)len;
    snprintf(text, sizeof(text), "%d", tried->run());
    gate_reply(req, text, strlen(text));
}

/* The child's part: serves until it is killed. Its exit code says how far it came. The port goes to
 * its standard output, since the sandbox closes other descriptors. */
static int serve(const trial *how)
{
    gate_options options = {
        .size = sizeof(options),
        .handler = try_act,
        .user = (void *)(uintptr_t)how->act,
        .workers = how->needs == NULL || how->needs->threads ? 2 : 1,
        .io = how->io,
    };
    struct rlimit no_core = {0};
    gate_server *server;
    uint16_t port;

    if (gate_server_open(&server, &options) < 0 ||
        gate_server_listen(server, "127.0.0.1", 0, 16) < 0)
        return 10;
    port = gate_server_port(server);
    there = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    spare = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    chosen = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (connect(chosen, (struct sockaddr *)&there, sizeof(there)) != 0)
        return 16;
#ifdef GATE_HAVE_URING
    if (io_uring_queue_init(4, &ring, 0) != 0)
        ring.ring_fd = -1;
#endif
    setrlimit(RLIMIT_CORE, &no_core);
    if (how->needs != NULL && (sandbox_prepare() != 0 || sandbox_enter(how->needs) != 0))
        return 11;
    if (write(STDOUT_FILENO, &port, sizeof(port)) != sizeof(port))
        return 12;
    return gate_server_serve(server) < 0 ? 13 : 14;
}

/* The act's errno as the handler answered it, or the code of a failed exchange. */
static int ask(uint16_t port)
{
    char reply[16] = "";
    size_t len = sizeof(reply) - 1;
    int code = gate_client_exchange("127.0.0.1", port, "1", 1, reply, &len, WAIT_MS);

    return code < 0 ? code : atoi(reply);
}

/* What became of the act: its errno, KILLED, or another code where something is wrong. The server
 * has to answer the next client too. */
static int outcome(const trial *how)
{
    uint16_t port = 0;
    int tell[2], result, again, status;
    pid_t child;

    assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(dup2(tell[1], STDOUT_FILENO) < 0 ? 15 : serve(how));
    close(tell[1]);
    result = read(tell[0], &port, sizeof(port)) == sizeof(port) ? ask(port) : GATE_EBROKEN;
    again = result >= 0 ? ask(port) : 0;
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(tell[0]);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        return KILLED;
    if (WIFEXITED(status))
        fail_msg("%s: the server ended with %d", how->act->name, WEXITSTATUS(status));
    assert_true(again >= 0);
    return result;
}

/* ---- The tests ----------------------------------------------------------------------------- */

static void touch(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    close(fd);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/gate-sandbox-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(file, sizeof(file), "%s/file", folder);
    snprintf(other, sizeof(other), "%s/other", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(file);
    unlink(other);
    return rmdir(folder);
}

static int try_on(uint32_t io, const act *tried, const sandbox_needs *needs)
{
    touch(file);
    unlink(other);
    return outcome(&(trial){.act = tried, .needs = needs, .io = io});
}

static void check_acts(uint32_t io)
{
    static const sandbox_needs needs = {.threads = 1};

    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        const act *tried = &acts[i];
        int got = try_on(io, tried, &needs);

        if (got == NO_RING)
            continue; /* this kernel has none */
        if (got != tried->expected)
            fail_msg("%s: expected %d, got %d", tried->name, tried->expected, got);
        if (!tried->for_root || geteuid() == 0) {
            got = try_on(io, tried, NULL);
            if (tried->expected == KILLED ? got < 0 : got != 0)
                fail_msg("%s: %d without the sandbox", tried->name, got);
        }
    }
}

static void test_intruder_can_do_none_of_this_over_epoll(void **state)
{
    (void)state;
    check_acts(GATE_IO_EPOLL);
}

/* io_uring where it is to be had. */
static void test_intruder_can_do_none_of_this_over_the_best_backend(void **state)
{
    (void)state;
    check_acts(GATE_IO_AUTO);
}

static void *do_nothing(void *arg)
{
    return arg;
}

static int start_thread(void)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, do_nothing, NULL);

    return error != 0 ? error : pthread_join(thread, NULL);
}

static void test_threads_are_for_several_workers_only(void **state)
{
    static const act starting = {"start a thread", start_thread, EPERM, 0};

    (void)state;
    assert_int_equal(try_on(GATE_IO_EPOLL, &starting, &(sandbox_needs){.threads = 1}), 0);
    assert_int_equal(try_on(GATE_IO_EPOLL, &starting, &(sandbox_needs){0}), EPERM);
}

/* A socket's file may be removed, and so may its folder's others; what lies elsewhere only where
 * the kernel has no Landlock. */
static void test_files_are_removed_in_the_folder_of_a_socket_only(void **state)
{
    static const act removing = {"remove a file", remove_file, EACCES, 0};
    static const act opening = {"open a file", open_file, EPERM, 0};
    int landlock =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 0;
    char door[PATH_MAX + 8], elsewhere[sizeof(folder) + 8];
    sandbox_needs needs = {.file_count = 1, .file = {door}};

    (void)state;
    snprintf(door, sizeof(door), "%s/door", folder);
    assert_int_equal(try_on(GATE_IO_EPOLL, &removing, &needs), 0);
    assert_int_equal(access(file, F_OK), -1);
    assert_int_equal(try_on(GATE_IO_EPOLL, &opening, &needs), EPERM);

    snprintf(elsewhere, sizeof(elsewhere), "%s.d", folder);
    snprintf(door, sizeof(door), "%s/door", elsewhere);
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    assert_int_equal(try_on(GATE_IO_EPOLL, &removing, &needs), landlock ? EACCES : 0);
    assert_int_equal(access(file, F_OK), landlock ? 0 : -1);
    assert_int_equal(rmdir(elsewhere), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_intruder_can_do_none_of_this_over_epoll),
        cmocka_unit_test(test_intruder_can_do_none_of_this_over_the_best_backend),
        cmocka_unit_test(test_threads_are_for_several_workers_only),
        cmocka_unit_test(test_files_are_removed_in_the_folder_of_a_socket_only),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
