/* SPDX-License-Identifier: MIT */

/* A client and a name with several addresses. The name service is this program's own. */

#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- The name service: "first,second,..." has these addresses, "never" answers never ---- */

static pthread_mutex_t never = PTHREAD_MUTEX_INITIALIZER;

static atomic_int asked;

static struct addrinfo *make_info(const char *text)
{
    struct addrinfo *info = calloc(1, sizeof *info + sizeof(struct sockaddr_in));
    if (!info)
        abort();
    struct sockaddr_in *addr = (struct sockaddr_in *)(void *)(info + 1);
    addr->sin_family = AF_INET;
    inet_pton(AF_INET, text, &addr->sin_addr);
    info->ai_family = AF_INET;
    info->ai_addr = (struct sockaddr *)addr;
    info->ai_addrlen = sizeof *addr;
    return info;
}

static const char *const names[][4] = {
    {"none-listens", "127.0.0.3", "127.0.0.4", NULL},
    {"last-listens", "127.0.0.3", "127.0.0.4", "127.0.0.1"},
    {"first-hangs", "127.0.0.2", "127.0.0.1", NULL},
};

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    struct addrinfo **end = list;
    (void)service, (void)hints;
    *list = NULL;
    asked++;
    if (!strcmp(name, "never")) {
        pthread_mutex_lock(&never); /* the test has it */
        pthread_mutex_unlock(&never);
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int j = 1; !strcmp(name, names[i][0]) && j < 4 && names[i][j]; j++) {
            *end = make_info(names[i][j]);
            end = &(*end)->ai_next;
        }
    return *list ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* ---- The tests ---- */

static int ask(const char *name, uint16_t port, int timeout_ms)
{
    char reply[8];
    size_t len = sizeof reply;
    int rc = gate_client_exchange(name, port, "hello", 5, reply, &len, timeout_ms);
    assert_int_equal(len, rc ? 0 : 5);
    return rc;
}

static void test_each_address_is_tried(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start(&options);
    assert_int_equal(ask("last-listens", s->port, 20000), 0);
    assert_int_equal(ask("none-listens", s->port, 20000), -ECONNREFUSED);
    assert_int_equal(ask("no-such-name", s->port, 20000), GATE_ENAME);
    assert_int_equal(gate_outcome(GATE_ENAME), GATE_NOT_SENT);
    net_stop(s);
}

/* A listener with a full queue leaves a part of the time to the addresses behind it. */
static void test_an_address_that_hangs_leaves_time_for_the_next(void **state)
{
    (void)state;
    int fds[8];
    gate_options options = net_options(net_echo, NULL);
    gate_server *server;
    uint16_t port = net_free_port();
    assert_int_equal(gate_server_open(&server, &options), 0);
    assert_int_equal(gate_server_listen(server, "127.0.0.1", port, 0), 0);
    net_server *s = net_serve(server);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(s->port)};
    inet_pton(AF_INET, "127.0.0.2", &addr.sin_addr);
    int full = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(full, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(full, 0), 0);
    for (int i = 0; i < 8; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(fds[i], (struct sockaddr *)&addr, sizeof addr);
    }
    uint64_t start = net_now_ms();
    assert_int_equal(ask("first-hangs", s->port, 2000), 0);
    assert_true(net_now_ms() - start >= 999);
    for (int i = 0; i < 8; i++)
        net_close(fds[i]);
    net_close(full);
    net_stop(s);
}

static void test_a_name_service_that_never_answers_is_given_up_in_time(void **state)
{
    (void)state;
    pthread_mutex_lock(&never);
    uint64_t start = net_now_ms();
    int rc = ask("never", 1, 150);
    uint64_t took = net_now_ms() - start;
    pthread_mutex_unlock(&never);
    assert_int_equal(rc, -ETIMEDOUT);
    assert_int_equal(gate_outcome(rc), GATE_NOT_SENT);
    assert_true(took >= 149 && took < 20000);
}

static void test_many_calls_against_a_slow_name_service_have_few_threads(void **state)
{
    (void)state;
    pthread_mutex_lock(&never);
    int before = asked;
    for (int i = 0; i < 300; i++)
        assert_int_equal(ask("never", 1, 1), -ETIMEDOUT);
    int look_ups = asked - before;
    pthread_mutex_unlock(&never);
    assert_in_range(look_ups, 1, 4);
}

static int on_thread_sanitizer(void)
{
#if defined(__SANITIZE_THREAD__)
    return 1;
#elif defined(__has_feature)
    return __has_feature(thread_sanitizer);
#else
    return 0;
#endif
}

/* In a child that is another user, whose limit on processes holds. The exit code is what failed. */
static void ask_without_threads(uint16_t port)
{
    const struct rlimit one = {1, 1};
    char reply[8];
    size_t len = sizeof reply;
    if (setrlimit(RLIMIT_NPROC, &one) || setgroups(0, NULL) || setgid(61234) || setuid(61234))
        _exit(77);
    if (gate_client_exchange("127.0.0.1", port, "hello", 5, reply, &len, 20000))
        _exit(1);
    len = sizeof reply;
    if (gate_client_exchange("last-listens", port, "hello", 5, reply, &len, 20000) != -EAGAIN)
        _exit(2);
    _exit(0);
}

static void test_where_no_thread_can_be_made_names_fail_as_that_and_numbers_work(void **state)
{
    int status;
    (void)state;
    if (geteuid() != 0 || on_thread_sanitizer()) /* which allows no threads after such a fork */
        skip();
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start(&options);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        ask_without_threads(s->port);
    assert_int_equal(waitpid(child, &status, 0), child);
    net_stop(s);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_each_address_is_tried),
        NET_TEST(test_an_address_that_hangs_leaves_time_for_the_next),
        NET_TEST(test_a_name_service_that_never_answers_is_given_up_in_time),
        NET_TEST(test_where_no_thread_can_be_made_names_fail_as_that_and_numbers_work),
        NET_TEST(test_many_calls_against_a_slow_name_service_have_few_threads),
    };
    return cmocka_run_group_tests_name("client_names", tests, NULL, NULL);
}
