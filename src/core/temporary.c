#define _GNU_SOURCE
#include "core/temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/mem.h"

enum { kPlaceDigits = 8, kText = 128 };

static const char kEnd[] = ".tmp";

/* FNV-1a */
static uint32_t mix(uint32_t hash, const char *text, ssize_t n) {
    for (ssize_t i = 0; i < n; i++) hash = (hash ^ (uint8_t)text[i]) * 16777619u;
    return hash;
}

/* Of what this process's number is unique in: this start of this machine, this namespace of
 * numbers. Where the kernel says neither, the machine's name has to do. */
static uint32_t place(void) {
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    uint32_t hash = 2166136261u;
    char text[kText];
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;

    if (fd >= 0) close(fd);
    hash = mix(hash, text, n);
    n = readlink("/proc/self/ns/pid", text, sizeof text);
    hash = mix(hash, text, n);
    if (n <= 0 && gethostname(text, sizeof text) == 0)
        hash = mix(hash, text, (ssize_t)strnlen(text, sizeof text));
    return hash;
}

/* Of a name that leaves no room for the rest it is the beginning. */
char *sg_temporary_name(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char rest[64];
    size_t most = NAME_MAX -
                  (size_t)snprintf(rest, sizeof rest, ".%08x.%ld%s", place(), (long)getpid(), kEnd);

    if (strlen(name) <= most) most = strlen(name);
    return sg_str_printf("%.*s%s", (int)((size_t)(name - path) + most), path, rest);
}

/* The start of the last part, behind a '.', of name[0, n); NULL: there is none with something
 * before it. */
static const char *last_part(const char *name, size_t n) {
    size_t i = n;

    while (i > 0 && name[i - 1] != '.') i--;
    return i > 1 && i < n ? name + i : NULL;
}

static bool consists_of(const char *part, const char *end, const char *digits) {
    return strspn(part, digits) >= (size_t)(end - part);
}

static sg_temporary process(const char *number) {
    long id = strtol(number, NULL, 10);
    bool lives = id > 0 && id != (long)getpid() && (kill((pid_t)id, 0) == 0 || errno == EPERM);

    return lives ? SG_TEMPORARY_LIVES : SG_TEMPORARY_DEAD;
}

sg_temporary sg_temporary_of(const char *name) {
    size_t n = strlen(name), m = sizeof kEnd - 1;
    const char *end = n < m ? "" : name + n - m, *number, *where;

    if (strcmp(end, kEnd) != 0) return SG_TEMPORARY_NOT;
    number = last_part(name, n - m);
    if (!number || !consists_of(number, end, "0123456789")) return SG_TEMPORARY_NOT;
    where = last_part(name, (size_t)(number - 1 - name));
    if (where && number - 1 - where == kPlaceDigits &&
        consists_of(where, number - 1, "0123456789abcdef") && strtoul(where, NULL, 16) != place())
        return SG_TEMPORARY_UNKNOWN;
    return process(number);
}
