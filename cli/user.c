/* SPDX-License-Identifier: MIT */
#include "user.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exit.h"
#include "report.h"

enum { NAME_LEN_MAX = 255 };

/* The largest number means "no change" to the kernel, and is no id. */
static int read_id(const char *text, uint32_t *id)
{
    unsigned long long value;
    char *end;

    if (!isdigit((unsigned char)*text))
        return -1;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (*end != '\0' || errno != 0 || value >= UINT32_MAX)
        return -1;
    *id = (uint32_t)value;
    return 0;
}

static int report_unknown(const char *option, const char *what, const char *database,
                          const char *name)
{
    report_error("%s: there is no %s '%s'", option, what, name);
    report_hint("getent %s lists them, and a number will do", database);
    return GATE_EXIT_USAGE;
}

/* *has_group: 0 where nothing but a number is known. */
static int find_user(const char *option, user_ids *ids, const char *name, int *has_group)
{
    uint32_t id;
    int is_number = read_id(name, &id) == 0;
    const struct passwd *entry = is_number ? getpwuid(id) : getpwnam(name);

    if (entry == NULL && !is_number)
        return report_unknown(option, "user", "passwd", name);
    *has_group = entry != NULL;
    ids->uid = is_number ? id : entry->pw_uid;
    ids->gid = entry != NULL ? entry->pw_gid : 0;
    return 0;
}

static int check_user(const user_ids *ids, const char *name, int has_group)
{
    if (ids->uid == 0) {
        report_error("--user: '%s' is the superuser, who keeps every right", name);
        report_hint("name a user that owns nothing, such as nobody");
        return GATE_EXIT_USAGE;
    }
    if (!has_group) {
        report_error("--user: which group user %s is in is not known", name);
        report_hint("write --user %s:GROUP", name);
        return GATE_EXIT_USAGE;
    }
    return 0;
}

static int find_group(const char *option, user_ids *ids, const char *name)
{
    uint32_t id;
    const struct group *entry;

    if (read_id(name, &id) == 0) {
        ids->gid = id;
        return 0;
    }
    entry = getgrnam(name);
    if (entry == NULL)
        return report_unknown(option, "group", "group", name);
    ids->gid = entry->gr_gid;
    return 0;
}

/* Splits USER:GROUP; *group: NULL where there is none. */
static int split(const char *option, const char *text, char name[NAME_LEN_MAX + 1],
                 const char **group)
{
    const char *colon = strchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);

    if (len > NAME_LEN_MAX)
        return report_unknown(option, "user", "passwd", text);
    memcpy(name, text, len);
    name[len] = '\0';
    *group = colon != NULL ? colon + 1 : NULL;
    return 0;
}

int user_parse(user_ids *ids, const char *text)
{
    static const char option[] = "--user";
    char name[NAME_LEN_MAX + 1];
    const char *group;
    int has_group, result = split(option, text, name, &group);

    if (result == 0)
        result = find_user(option, ids, name, &has_group);
    if (result == 0)
        result = check_user(ids, name, has_group || group != NULL);
    return result == 0 && group != NULL ? find_group(option, ids, group) : result;
}

int user_parse_owner(user_ids *ids, const char *text)
{
    static const char option[] = "--unix-owner";
    char name[NAME_LEN_MAX + 1];
    const char *group;
    int has_group, result = split(option, text, name, &group);

    ids->uid = (uid_t)-1;
    if (result == 0 && (name[0] != '\0' || group == NULL))
        result = find_user(option, ids, name, &has_group);
    ids->gid = (gid_t)-1;
    return result == 0 && group != NULL ? find_group(option, ids, group) : result;
}

static int is_that_user(const user_ids *ids)
{
    uid_t uid[3];
    gid_t gid[3];

    return getresuid(&uid[0], &uid[1], &uid[2]) == 0 && getresgid(&gid[0], &gid[1], &gid[2]) == 0 &&
           uid[0] == ids->uid && uid[1] == ids->uid && uid[2] == ids->uid && gid[0] == ids->gid &&
           gid[1] == ids->gid && gid[2] == ids->gid && getgroups(0, NULL) == 0;
}

static int can_go_back(const user_ids *ids)
{
    return setresuid(0, 0, 0) == 0 || (ids->gid != 0 && setresgid(0, 0, 0) == 0);
}

int user_become(const user_ids *ids)
{
    /* The user goes last, for then there is no right left to change the groups. */
    if (setgroups(0, NULL) != 0 || setresgid(ids->gid, ids->gid, ids->gid) != 0 ||
        setresuid(ids->uid, ids->uid, ids->uid) != 0) {
        int error = errno;

        report_error("--user: cannot become user %u: %s", ids->uid, strerror(error));
        if (error == EPERM)
            report_hint("only root may become somebody else; without --user it stays who it is");
        return GATE_EXIT_LOCAL;
    }
    if (!is_that_user(ids) || can_go_back(ids)) {
        report_error("--user: there is a way back from user %u", ids->uid);
        report_hint("start it as root, or without capabilities");
        return GATE_EXIT_LOCAL;
    }
    return 0;
}
