/* SPDX-License-Identifier: MIT */
#include "inject.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    atomic_int call, how, error, first, count, fired;
    atomic_int seen[INJECT_CALL_COUNT];
} plan;

/* clang-format off */
static const char *const names[] = {
    "nothing",
#define X(name) #name,
    INJECT_CALLS(X)
#undef X
    "memory", "submit", "wait",
    "ring accept", "ring recv", "ring send", "ring connect", "ring wake", "ring cancel"
};
/* clang-format on */

_Static_assert(sizeof names / sizeof *names == INJECT_CALL_COUNT, "each has a name");

void inject_arm(const inject_fault *fault)
{
    plan.call = INJECT_NOTHING;
    for (int i = 0; i < INJECT_CALL_COUNT; i++)
        plan.seen[i] = 0;
    plan.fired = 0;
    plan.how = fault->how;
    plan.error = fault->error;
    plan.first = fault->first;
    plan.count = fault->count;
    plan.call = fault->call;
}

void inject_disarm(void)
{
    plan.call = INJECT_NOTHING;
}

int inject_seen(int call)
{
    return plan.seen[call];
}

int inject_fired(void)
{
    return plan.fired;
}

int inject_error(void)
{
    return plan.error;
}

static int hits(int call)
{
    int number = atomic_fetch_add(&plan.seen[call], 1) + 1;
    if (plan.call != call || number < plan.first || number - plan.first >= plan.count)
        return 0;
    atomic_fetch_add(&plan.fired, 1);
    return 1;
}

int inject_fails(int call)
{
    return hits(call) ? plan.error : 0;
}

int inject_hits(int call, int how)
{
    return plan.how == how && hits(call);
}

const char *inject_name(int call)
{
    return names[call];
}

const char *inject_error_name(int error)
{
    static char text[16];
    if (error == INJECT_SHORT)
        return "short";
    if (error == INJECT_NO_ERROR)
        return "";
    if (error > 0)
        return strerrorname_np(error);
    snprintf(text, sizeof text, "EAI %d", error);
    return text;
}

void inject_tell(void)
{
    print_error("armed last: %s %s, how %d, first %d, count %d; hit %d times\n",
                inject_name(plan.call), inject_error_name(plan.error), plan.how, plan.first,
                plan.count, plan.fired);
}
