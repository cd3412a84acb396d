/* What bin/spotgrad is in a bundle (`make bundle`): it starts lib/spotgrad, the program, with the
 * right C library. Linked statically, so it runs wherever the kernel does.
 *
 *   bin/spotgrad      this program; bin/train and the others are symbolic links to it. Where there
 *                     are further programs, bin/NAME is a hard link to it and starts lib/NAME
 *   lib/spotgrad      the program; its RPATH is $ORIGIN, so all libraries of the folder are found
 *   lib/glibc/        a loader and C library of our own
 *
 * Loader and C library are a pair, and a process has one pair. NVIDIA's driver and libraries, name
 * services and whatever LD_LIBRARY_PATH holds belong to the host and may need the host's C library
 * or any newer one, so the newer of the two must serve:
 *
 *   - the host's, where it has all that our libraries need (SG_GLIBC_NEEDED, which `make bundle`
 *     finds out): then lib/spotgrad is simply executed, and the kernel starts the host's loader;
 *   - ours otherwise, and where there is no such loader at all (Alpine): our loader is executed and
 *     told what to load. It reads the host's /etc/ld.so.cache, so a driver is found.
 *
 * Always ours would fail on systems newer than Debian 12, as soon as the driver asks for a symbol
 * that glibc 2.36 has not; always the host's would fail on all that are older. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef SG_GLIBC_NEEDED
#error "SG_GLIBC_NEEDED: 36 for glibc 2.36"
#endif

#define HOST_LOADER "/lib64/ld-linux-x86-64.so.2"

enum { kUnavailable = 69, kLoaderBytes = 4 << 20 };

static void fail(const char *what, const char *why) {
    fprintf(stderr, "spotgrad: %s: %s\n", what, why);
    exit(kUnavailable);
}

/* The minor version of the host's glibc 2.x, 0 if it has none or one before 2.33: since then the
 * loader holds "ld.so (...) stable release version 2.33." for its option --version. Reading the
 * file takes a tenth of a millisecond; running it could hang. */
static int host_glibc(void) {
    static const char kBefore[] = " release version 2.";
    static char text[kLoaderBytes];
    FILE *f = fopen(HOST_LOADER, "rb");
    const char *at;
    size_t bytes;

    if (!f) return 0;
    bytes = fread(text, 1, sizeof text - 1, f); /* the text ends with a 0 in any case */
    fclose(f);
    at = memmem(text, bytes, kBefore, sizeof kBefore - 1);
    return at ? atoi(at + sizeof kBefore - 1) : 0;
}

/* SPOTGRAD_LIBC=host or own, for tests and whoever knows better. */
static int host_serves(void) {
    const char *told = getenv("SPOTGRAD_LIBC");

    if (told && strcmp(told, "host") == 0) return 1;
    if (told && strcmp(told, "own") == 0) return 0;
    if (told && *told) fail("SPOTGRAD_LIBC", "is neither host nor own");
    return host_glibc() >= SG_GLIBC_NEEDED;
}

/* The bundle's folder, and the program's name: this file is FOLDER/bin/NAME, whatever symbolic link
 * it was called by. */
static const char *find_folder(char *folder, size_t bytes) {
    ssize_t length = readlink("/proc/self/exe", folder, bytes - 1);
    char *slash[2];

    if (length < 0) fail("/proc/self/exe", strerror(errno));
    folder[length] = '\0';
    for (int i = 0; i < 2; i++) {
        slash[i] = strrchr(folder, '/');
        if (!slash[i]) fail(folder, "is not bin/spotgrad of a bundle");
        *slash[i] = '\0';
    }
    return slash[0] + 1;
}

static char *text_of(const char *format, const char *a, const char *b) {
    char *text;

    if (asprintf(&text, format, a, b) < 0) fail("starting", "out of memory");
    return text;
}

/* The program's /proc/self/exe is the loader then, so it is told by what it can be started again.
 * Our loader ignores LD_LIBRARY_PATH where it is given a path, so that becomes its end. */
static void run_with_own(const char *folder, const char *name, int argc, char **argv) {
    const char *path = getenv("LD_LIBRARY_PATH");
    char **args = calloc((size_t)argc + 8, sizeof *args);
    int n = 0;

    if (!args) fail("starting", "out of memory");
    if (strpbrk(folder, ":;"))
        fail(folder, "a path with ':' or ';' does not work with this system's C library; move the "
                     "folder");
    args[n++] = text_of("%s/lib/glibc/ld-linux-x86-64.so.2%s", folder, "");
    args[n++] = "--argv0";
    args[n++] = argv[0];
    args[n++] = "--library-path";
    args[n++] = path && *path ? text_of("%s/lib/glibc:%s", folder, path)
                              : text_of("%s/lib/glibc%s", folder, "");
    args[n++] = text_of("%s/lib/%s", folder, name);
    for (int i = 1; i < argc; i++) args[n++] = argv[i];
    setenv("SPOTGRAD_LAUNCHER", text_of("%s/bin/%s", folder, name), 1);
    execv(args[0], args);
    fail(args[0], strerror(errno));
}

int main(int argc, char **argv) {
    static char folder[PATH_MAX];
    const char *name;
    char *program;

    if (argc < 1) fail("starting", "no name");
    name = find_folder(folder, sizeof folder);
    program = text_of("%s/lib/%s", folder, name);
    if (host_serves()) {
        unsetenv("SPOTGRAD_LAUNCHER");
        execv(program, argv);
        fail(program, strerror(errno));
    }
    run_with_own(folder, name, argc, argv);
    return kUnavailable;
}
