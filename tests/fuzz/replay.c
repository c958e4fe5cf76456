/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target over files, and over all files of folders, where there is no libFuzzer. */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

enum { PATH_ROOM = 4096 };

static int run_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(size ? size : 1);
    int ok = file != NULL && bytes != NULL && fread(bytes, 1, size, file) == size;

    if (ok) {
        /* The last line names the file of a crash. Not by stdio, which a target may silence. */
        dprintf(STDOUT_FILENO, "%s\n", path);
        (void)LLVMFuzzerTestOneInput(bytes, size);
    } else {
        perror(path);
    }
    free(bytes);
    if (file != NULL)
        fclose(file);
    return ok ? 1 : -1;
}

static int run(const char *path);

static int run_folder(const char *path)
{
    char inner[PATH_ROOM];
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    int total = 0;

    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.' && total >= 0) {
            (void)snprintf(inner, sizeof(inner), "%s/%s", path, entries[i]->d_name);
            int ran = run(inner);
            total = ran < 0 ? -1 : total + ran;
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return count < 0 ? -1 : total;
}

/* How many inputs ran, or -1. */
static int run(const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0) {
        perror(path);
        return -1;
    }
    return S_ISDIR(status.st_mode) ? run_folder(path) : run_file(path, (size_t)status.st_size);
}

int main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        int ran = run(argv[i]);
        if (ran < 0)
            return 1;
        total += ran;
    }
    dprintf(STDOUT_FILENO, "%d inputs\n", total);
    return total > 0 ? 0 : 1;
}
