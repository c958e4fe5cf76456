/* SPDX-License-Identifier: MIT */

#include "harness.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/resolve.h"
#include "io/sock.h"
#include "names.h"

/* A look-up with its answer, as a loop would do it. */
static int resolve(gate_resolve *look_up, const char *host)
{
    int rc;

    *look_up = (gate_resolve){.host = host, .port = 9001};
    rc = gate__resolve_start(look_up, NULL, NULL);
    if (rc != 1)
        return rc;
    gate__resolve_wait(look_up, UINT64_MAX);
    rc = gate__resolve_take(look_up);
    assert_null(look_up->job);
    return rc;
}

static void test_numbers_and_unix_names_need_no_look_up(void **state)
{
    gate_resolve look_up;
    int asked = names_asked();

    (void)state;
    assert_int_equal(resolve(&look_up, "127.0.0.1"), 0);
    assert_int_equal(look_up.count, 1);
    assert_int_equal(gate__addr_port(&look_up.addrs[0]), 9001);
    assert_int_equal(resolve(&look_up, "[::1]"), 0);
    assert_int_equal(resolve(&look_up, "unix:/tmp/gate"), 0);
    assert_int_equal(look_up.addrs[0].u.any.sa_family, AF_UNIX);
    assert_int_equal(names_asked(), asked);
}

static void test_zone_of_an_ipv6_address_is_found_by_its_name(void **state)
{
    static const char *const hosts[] = {"fe80::1%lo", "[fe80::1%lo]"};
    gate_resolve look_up;
    gate__sockaddr addr;
    int asked = names_asked();

    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        assert_int_equal(resolve(&look_up, hosts[i]), 0);
        assert_int_equal(look_up.count, 1);
        assert_int_equal(look_up.addrs[0].u.in6.sin6_scope_id, if_nametoindex("lo"));
        assert_int_equal(gate__addr_port(&look_up.addrs[0]), 9001);
        assert_int_equal(gate__resolve_now(hosts[i], 9001, &addr), 0);
        assert_int_equal(addr.u.in6.sin6_scope_id, if_nametoindex("lo"));
    }
    assert_int_equal(resolve(&look_up, "[fe80::1%no-such]"), -ENODEV);
    assert_int_equal(look_up.count, 0);
    assert_int_equal(names_asked(), asked);
}

static void test_what_is_no_name_is_not_looked_up(void **state)
{
    gate_resolve look_up;
    char large[300];
    int asked = names_asked();

    (void)state;
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    assert_int_equal(resolve(&look_up, ""), -EINVAL);
    assert_int_equal(resolve(&look_up, large), -ENAMETOOLONG);
    assert_int_equal(look_up.count, 0);
    assert_int_equal(names_asked(), asked);
}

static void test_addresses_keep_their_order_and_get_the_port(void **state)
{
    gate_resolve look_up;

    (void)state;
    assert_int_equal(resolve(&look_up, "two.test"), 0);
    assert_int_equal(look_up.count, 2);
    assert_int_equal(look_up.addrs[0].u.any.sa_family, AF_INET6);
    assert_int_equal(look_up.addrs[0].len, sizeof(struct sockaddr_in6));
    assert_int_equal(look_up.addrs[1].u.any.sa_family, AF_INET);
    assert_int_equal(look_up.addrs[1].len, sizeof(struct sockaddr_in));
    assert_int_equal(gate__addr_port(&look_up.addrs[0]), 9001);
    assert_int_equal(gate__addr_port(&look_up.addrs[1]), 9001);
    assert_int_equal(look_up.addrs[1].u.in4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}

static void test_addresses_beyond_the_room_are_dropped(void **state)
{
    gate_resolve look_up;

    (void)state;
    assert_int_equal(resolve(&look_up, "many.test"), 0);
    assert_int_equal(look_up.count, GATE_RESOLVE_MAX);
}

static void test_failures_say_whether_to_try_again(void **state)
{
    gate_resolve look_up;

    (void)state;
    assert_int_equal(resolve(&look_up, "none.test"), GATE_ENAME);
    assert_int_equal(look_up.count, 0);
    assert_int_equal(resolve(&look_up, "nodata.test"), GATE_ENAME);
    assert_int_equal(resolve(&look_up, "family.test"), GATE_ENAME);
    assert_int_equal(resolve(&look_up, "service.test"), GATE_ENAME);
    assert_int_equal(resolve(&look_up, "later.test"), GATE_ENAMELATER);
    assert_int_equal(resolve(&look_up, "broken.test"), GATE_ENAMELATER);
    assert_int_equal(resolve(&look_up, "system.test"), GATE_ENAMELATER);
    assert_int_equal(resolve(&look_up, "starved.test"), -ENOMEM);
    assert_int_equal(resolve(&look_up, "memory.test"), -ENOMEM);
}

static void test_addresses_of_no_use_are_none(void **state)
{
    gate_resolve look_up;

    (void)state;
    assert_int_equal(resolve(&look_up, "strange.test"), GATE_ENAME);
    assert_int_equal(look_up.count, 0);
}

/* As several clients in one loop may have it: whoever is answered leaves, the others stay. */
static void test_look_ups_of_a_loop_end_in_any_order(void **state)
{
    gate_resolve first = {.host = "slow.test"}, second = {.host = "one.test"}, third = first;
    gate_op *list = NULL, *over = NULL;
    int asked = names_asked();

    (void)state;
    assert_int_equal(gate__lookups_add(&list, &first, NULL, NULL), 1);
    assert_int_equal(gate__lookups_add(&list, &second, NULL, NULL), 1);
    assert_int_equal(gate__lookups_add(&list, &third, NULL, NULL), 1);
    gate__resolve_wait(&second, UINT64_MAX);
    over = gate__lookups_take(&list);
    assert_ptr_equal(over, &second.op);
    assert_null(gate__lookups_take(&list));
    assert_int_equal(gate__lookups_remove(&list, &second), 0);
    assert_int_equal(gate__lookups_remove(&list, &first), 1);
    assert_ptr_equal(list, &third.op);
    names_release();
    names_release();
    gate__resolve_wait(&third, UINT64_MAX);
    assert_ptr_equal(gate__lookups_take(&list), &third.op);
    assert_null(list);
    names_wait_for_threads(asked + 3); /* the one that was left, too, takes its release */
}

static void test_answer_is_not_there_before_it_comes(void **state)
{
    gate_resolve look_up = {.host = "slow.test"};

    (void)state;
    assert_int_equal(gate__resolve_start(&look_up, NULL, NULL), 1);
    assert_int_equal(gate__resolve_take(&look_up), -EAGAIN);
    gate__resolve_wait(&look_up, 0);
    gate__resolve_wait(&look_up, gate__clock_ns() + 5 * MS);
    assert_int_equal(gate__resolve_take(&look_up), -EAGAIN);
    names_release();
    gate__resolve_wait(&look_up, UINT64_MAX);
    assert_int_equal(gate__resolve_take(&look_up), 0);
}

static atomic_int notifies;

static void post(void *arg)
{
    notifies++;
    sem_post(arg);
}

static void test_notify_comes_once_when_the_answer_is_there(void **state)
{
    gate_resolve look_up = {.host = "slow.test"};
    sem_t notified;
    int before = notifies;

    (void)state;
    sem_init(&notified, 0, 0);
    assert_int_equal(gate__resolve_start(&look_up, post, &notified), 1);
    assert_int_equal(sem_trywait(&notified), -1);
    names_release();
    assert_int_equal(sem_wait(&notified), 0);
    assert_int_equal(gate__resolve_take(&look_up), 0);
    names_wait_for_threads(0);
    assert_int_equal(notifies, before + 1);
    sem_destroy(&notified);
}

/* What notify would have used is gone when the answer comes. */
static void test_abandoned_look_up_touches_nothing_of_the_callers(void **state)
{
    gate_resolve *look_up = calloc(1, sizeof *look_up);
    char *host = strdup("slow.test");
    sem_t *notified = calloc(1, sizeof *notified);
    int asked = names_asked(), before = notifies;

    (void)state;
    assert_true(look_up && host && notified);
    sem_init(notified, 0, 0);
    look_up->host = host;
    assert_int_equal(gate__resolve_start(look_up, post, notified), 1);
    names_wait_for(asked + 1);
    gate__resolve_abandon(look_up);
    assert_null(look_up->job);
    sem_destroy(notified);
    free(notified);
    free(host);
    free(look_up);
    names_release();
    names_wait_for_threads(asked + 1);
    assert_int_equal(notifies, before);
}

/* One that was abandoned before a thread has taken it is not looked up. */
static void test_abandoned_and_answered_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        gate_resolve look_up = {.host = "one.test"};

        assert_int_equal(gate__resolve_start(&look_up, NULL, NULL), 1);
        gate__resolve_abandon(&look_up);
    }
}

static void test_look_up_thread_takes_no_signals(void **state)
{
    gate_resolve look_up;

    (void)state;
    assert_int_equal(resolve(&look_up, "one.test"), 0);
    assert_true(names_blocked_signals());
    assert_true(names_on_named_thread());
}

/* The C library takes such variables out of the stack of each thread. */
static _Thread_local char large[1 << 20];

static void test_look_up_thread_has_room_for_large_thread_local_variables(void **state)
{
    gate_resolve look_up;

    (void)state;
    memset(large, 1, sizeof large);
    assert_int_equal(resolve(&look_up, "one.test"), 0);
}

static void test_addresses_are_not_hidden_for_what_the_machine_has(void **state)
{
    gate_resolve look_up;

    (void)state;
    assert_int_equal(resolve(&look_up, "one.test"), 0);
    assert_int_equal(names_flags(), 0);
}

/* ---- Many ---------------------------------------------------------------------------------- */

enum { MANY = 3 * GATE_RESOLVE_THREADS };

static void start_many(gate_resolve *look_ups, const char *host)
{
    for (int i = 0; i < MANY; i++) {
        look_ups[i] = (gate_resolve){.host = host};
        assert_int_equal(gate__resolve_start(&look_ups[i], NULL, NULL), 1);
    }
}

static void release_threads(void)
{
    for (int i = 0; i < GATE_RESOLVE_THREADS; i++)
        names_release();
}

static void test_many_look_ups_have_few_threads_and_all_are_answered(void **state)
{
    gate_resolve look_ups[MANY];
    int asked = names_asked();

    (void)state;
    start_many(look_ups, "slow.test");
    names_wait_for(asked + GATE_RESOLVE_THREADS);
    assert_int_equal(gate__resolve_threads(), GATE_RESOLVE_THREADS);
    gate__resolve_wait(&look_ups[MANY - 1], gate__clock_ns() + 5 * MS);
    assert_int_equal(gate__resolve_take(&look_ups[MANY - 1]), -EAGAIN);
    assert_int_equal(names_asked(), asked + GATE_RESOLVE_THREADS);
    for (int i = 0; i < MANY / GATE_RESOLVE_THREADS; i++)
        release_threads();
    for (int i = 0; i < MANY; i++) {
        gate__resolve_wait(&look_ups[i], UINT64_MAX);
        assert_int_equal(gate__resolve_take(&look_ups[i]), 0);
    }
}

static void test_look_ups_that_wait_for_a_thread_can_be_abandoned(void **state)
{
    gate_resolve look_ups[MANY], last;
    int asked = names_asked();

    (void)state;
    start_many(look_ups, "slow.test");
    names_wait_for(asked + GATE_RESOLVE_THREADS);
    for (int i = MANY - 1; i >= 0; i -= 2)
        gate__resolve_abandon(&look_ups[i]);
    for (int i = 0; i < MANY; i += 2)
        gate__resolve_abandon(&look_ups[i]);
    release_threads();
    assert_int_equal(resolve(&last, "one.test"), 0);
    assert_int_equal(names_asked(), asked + GATE_RESOLVE_THREADS + 1);
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

/* ---- fork ---------------------------------------------------------------------------------- */

static void test_child_of_fork_looks_up_where_all_threads_of_its_parent_wait(void **state)
{
    gate_resolve look_ups[MANY], own;
    int asked = names_asked(), status;
    pid_t child;

    (void)state;
    if (on_thread_sanitizer()) /* which allows no threads after such a fork */
        skip();
    start_many(look_ups, "slow.test");
    names_wait_for(asked + GATE_RESOLVE_THREADS);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        own = (gate_resolve){.host = "one.test"};
        if (gate__resolve_start(&own, NULL, NULL) != 1)
            _exit(1);
        gate__resolve_wait(&own, gate__clock_ns() + 20000 * MS);
        _exit(gate__resolve_take(&own) == 0 ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    for (int i = 0; i < MANY; i++)
        gate__resolve_abandon(&look_ups[i]);
    release_threads();
}

/* ---- To listen ----------------------------------------------------------------------------- */

static void test_look_up_that_blocks_gives_the_first_address_of_this_machine(void **state)
{
    gate__sockaddr addr, loopback6;

    (void)state;
    assert_int_equal(gate__addr_numeric(&loopback6, "::1", 9001), 0);
    assert_int_equal(gate__resolve_now("two.test", 9001, &addr), 0);
    assert_int_equal(addr.u.any.sa_family, gate__sock_is_own(&loopback6) ? AF_INET6 : AF_INET);
    assert_int_equal(gate__addr_port(&addr), 9001);
    assert_false(names_blocked_signals());
    assert_int_equal(gate__resolve_now("foreign.test", 9001, &addr), 0);
    assert_int_equal(addr.u.in4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_int_equal(gate__addr_port(&addr), 9001);
    assert_int_equal(gate__resolve_now("127.0.0.1", 1, &addr), 0);
    assert_int_equal(gate__resolve_now("none.test", 1, &addr), GATE_ENAME);
    assert_int_equal(gate__resolve_now("", 1, &addr), -EINVAL);
}

static int wait_for_threads(void **state)
{
    (void)state;
    while (gate__resolve_threads() > 0)
        sched_yield();
    names_wait_for_threads(0);
    return 0;
}

#define TEST(test) cmocka_unit_test_teardown(test, wait_for_threads)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_numbers_and_unix_names_need_no_look_up),
        TEST(test_zone_of_an_ipv6_address_is_found_by_its_name),
        TEST(test_what_is_no_name_is_not_looked_up),
        TEST(test_addresses_keep_their_order_and_get_the_port),
        TEST(test_addresses_beyond_the_room_are_dropped),
        TEST(test_failures_say_whether_to_try_again),
        TEST(test_addresses_of_no_use_are_none),
        TEST(test_look_ups_of_a_loop_end_in_any_order),
        TEST(test_answer_is_not_there_before_it_comes),
        TEST(test_notify_comes_once_when_the_answer_is_there),
        TEST(test_abandoned_look_up_touches_nothing_of_the_callers),
        TEST(test_abandoned_and_answered_at_once),
        TEST(test_look_up_thread_takes_no_signals),
        TEST(test_look_up_thread_has_room_for_large_thread_local_variables),
        TEST(test_addresses_are_not_hidden_for_what_the_machine_has),
        TEST(test_many_look_ups_have_few_threads_and_all_are_answered),
        TEST(test_look_ups_that_wait_for_a_thread_can_be_abandoned),
        TEST(test_child_of_fork_looks_up_where_all_threads_of_its_parent_wait),
        TEST(test_look_up_that_blocks_gives_the_first_address_of_this_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
