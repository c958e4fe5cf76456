/* SPDX-License-Identifier: MIT */

/* What the system says about memory. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/memory.h"
#include "slots.h"

static char root[] = "/tmp/gate-memory-XXXXXX";

/* Makes the directories on the way, too. */
static void put_file(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
        *at = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_root(void **state)
{
    (void)state;
    strcpy(root + strlen(root) - 6, "XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int drop_root(void **state)
{
    char command[600];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void test_without_groups_the_limit_is_what_the_machine_has(void **state)
{
    (void)state;
    uint64_t limit = gate__memory_limit(root);
    assert_true(limit >= 1 << 20);
    assert_true(limit <= (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    assert_true(gate__memory_limit("") <= limit);
    assert_true(limit <= SIZE_MAX / 2); /* a process of 32 bits on a large machine */
}

static void test_the_least_limit_of_a_group_and_those_above_counts(void **state)
{
    (void)state;
    put_file("/proc/self/cgroup", "0::/system.slice/door.service\n");
    put_file("/sys/fs/cgroup/system.slice/door.service/memory.max", "max\n");
    put_file("/sys/fs/cgroup/system.slice/memory.max", "2097152\n");
    put_file("/sys/fs/cgroup/memory.max", "4194304\n");
    assert_int_equal(gate__memory_limit(root), 2097152);
    put_file("/sys/fs/cgroup/system.slice/door.service/memory.max", "1048576\n");
    assert_int_equal(gate__memory_limit(root), 1048576);
}

static void test_the_first_version_of_groups_counts_as_well(void **state)
{
    (void)state;
    put_file("/proc/self/cgroup", "12:cpu,cpuacct:/\n9:memory:/box\n0::/\n");
    put_file("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "3145728\n");
    put_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(gate__memory_limit(root), 3145728);
}

static void test_files_that_make_no_sense_are_no_limit(void **state)
{
    (void)state;
    uint64_t machine = gate__memory_limit(root);
    static const char *const groups[] = {"", "0", "0:", "0::", "0::/\n", "::\n:\n\n", "x:memory:"};
    static const char *const limits[] = {"", "max", "-5", "none", "0", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        put_file("/proc/self/cgroup", groups[i]);
        for (size_t k = 0; k < sizeof limits / sizeof *limits; k++) {
            put_file("/sys/fs/cgroup/memory.max", limits[k]);
            assert_int_equal(gate__memory_limit(root), machine);
        }
    }
}

static void test_released_pages_read_as_zeros(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *bytes =
        mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(bytes != MAP_FAILED);
    memset(bytes, 'x', page);
    assert_int_equal(gate__memory_release(bytes + 1, page - 1), -EINVAL);
    assert_int_equal(bytes[1], 'x');
    assert_int_equal(gate__memory_release(bytes, page), 0);
    assert_int_equal(bytes[1], 0);
    munmap(bytes, page);
}

static void test_cells_of_blocks_that_nobody_uses_are_released(void **state)
{
    (void)state;
    enum { CELLS = 4 * GATE__BLOCK_SLOTS };
    static unsigned char *cells[CELLS];
    static gate__block *blocks[CELLS];
    gate__slots slots = {0};
    uint32_t generation;
    size_t released = 0;
    for (int i = 0; i < CELLS; i++) {
        assert_non_null(cells[i] = gate__slots_take(&slots, &blocks[i], &generation));
        assert_int_equal(generation, 0);
        memset(cells[i], 'x', GATE__SLOT_SIZE);
    }
    for (int i = 0; i < CELLS; i++)
        gate__slots_put(&slots, blocks[i], cells[i], 7);
    for (int i = 0; i < CELLS; i++)
        released += cells[i][0] == 0; /* such memory can still be read */
    assert_int_equal(released, CELLS - GATE__BLOCK_SLOTS);
    for (int i = 0; i < CELLS; i++) {
        assert_non_null(gate__slots_take(&slots, &blocks[i], &generation));
        assert_int_equal(generation, 7);
    }
    gate__slots_free(&slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_without_groups_the_limit_is_what_the_machine_has,
                                        make_root, drop_root),
        cmocka_unit_test_setup_teardown(test_the_least_limit_of_a_group_and_those_above_counts,
                                        make_root, drop_root),
        cmocka_unit_test_setup_teardown(test_the_first_version_of_groups_counts_as_well, make_root,
                                        drop_root),
        cmocka_unit_test_setup_teardown(test_files_that_make_no_sense_are_no_limit, make_root,
                                        drop_root),
        cmocka_unit_test(test_released_pages_read_as_zeros),
        cmocka_unit_test(test_cells_of_blocks_that_nobody_uses_are_released),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
