#define _GNU_SOURCE
#include "gpu/libraries.h"

#include <dlfcn.h>
#include <glob.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kPath = 4096, kMostMissing = 16 };

/* Where a library may lie, as glob(3) has it. NVIDIA's container runtime, WSL and NixOS put the
 * driver's where no ldconfig knows of them. */
static const char *const kFolders[] = {
    "/usr/local/cuda/lib64",   "/usr/local/cuda-*/lib64", "/opt/cuda/lib64",
    "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib",        "/run/opengl-driver/lib",
};
/* Below a Python's prefix: pip's packages of NVIDIA's libraries, and PyTorch's own. */
static const char *const kPackages[] = {
    "lib*/python3*/site-packages/nvidia/*/lib",
    "lib*/python3*/site-packages/torch/lib",
    "lib*/python3*/dist-packages/nvidia/*/lib",
    "lib*/python3*/dist-packages/torch/lib",
};

/* Load the first file called `name` that matches `folder` and can be loaded. */
static bool load_from(const char *folder, const char *name) {
    char pattern[kPath];
    glob_t found;
    bool loaded = false;

    if (snprintf(pattern, sizeof pattern, "%s/%s", folder, name) >= kPath) return false;
    if (glob(pattern, 0, NULL, &found) != 0) return false;
    for (size_t i = 0; i < found.gl_pathc && !loaded; i++)
        loaded = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL) != NULL;
    globfree(&found);
    return loaded;
}

/* `prefix`/bin/python3 is a Python: a virtual environment's, a distribution's, conda's. */
static bool load_from_python(const char *prefix, const char *name) {
    char folder[kPath];
    bool loaded = false;

    for (size_t k = 0; k < sizeof kPackages / sizeof *kPackages && !loaded; k++)
        loaded = snprintf(folder, sizeof folder, "%s/%s", prefix, kPackages[k]) < kPath &&
                 load_from(folder, name);
    return loaded;
}

/* The Pythons that PATH leads to, in its order, then those of the system and the user. */
static bool load_from_pythons(const char *name) {
    const char *path = getenv("PATH"), *home = getenv("HOME");
    char prefix[kPath];

    for (const char *at = path; at && *at;) {
        int length = (int)strcspn(at, ":");

        if (snprintf(prefix, sizeof prefix, "%.*s/..", length, at) < kPath && length > 0 &&
            load_from_python(prefix, name))
            return true;
        at += length + (at[length] == ':');
    }
    if (home && snprintf(prefix, sizeof prefix, "%s/.local", home) < kPath &&
        load_from_python(prefix, name))
        return true;
    return load_from_python("/usr", name) || load_from_python("/usr/local", name);
}

static bool load_from_elsewhere(const char *name) {
    for (size_t i = 0; i < sizeof kFolders / sizeof *kFolders; i++)
        if (load_from(kFolders[i], name)) return true;
    /* the driver's is never a package: its version is the kernel module's */
    return strncmp(name, "libcuda.", 8) != 0 && load_from_pythons(name);
}

/* glibc: "NAME: cannot open shared object file: No such file or directory", of the library itself
 * or of one that it needs. */
static bool is_missing(const char *why, char *name, size_t bytes) {
    const char *colon = strstr(why, ": cannot open shared object file");

    if (!colon || (size_t)(colon - why) >= bytes) return false;
    memcpy(name, why, (size_t)(colon - why));
    name[colon - why] = '\0';
    return name[0] != '\0' && !strchr(name, '/');
}

void *sg_library_open(const char *name, char *why, size_t bytes) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    char missing[256], before[256] = "";

    for (int i = 0; !library && i < kMostMissing; i++) {
        snprintf(why, bytes, "%s", dlerror());
        if (!is_missing(why, missing, sizeof missing) || strcmp(missing, before) == 0) break;
        if (!load_from_elsewhere(missing)) break;
        snprintf(before, sizeof before, "%s", missing);
        library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    return library;
}

sg_status sg_program_folder(char *path, size_t bytes) {
    uintptr_t here = (uintptr_t)sg_program_folder;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[kPath + 128];
    sg_status st = SG_ERR_UNAVAILABLE;

    while (maps && st != SG_OK && fgets(line, sizeof line, maps)) {
        uintptr_t first, end;
        char *file = strchr(line, '/'), *slash = file ? strrchr(file, '/') : NULL;

        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &first, &end) != 2) continue;
        if (here < first || here >= end || !file || (size_t)(slash - file) + 1 > bytes) continue;
        *slash = '\0';
        snprintf(path, bytes, "%s", file);
        st = SG_OK;
    }
    if (maps) fclose(maps);
    if (st == SG_OK) return SG_OK;
    return sg_fail(st, "cannot tell where this program is: /proc/self/maps does not say");
}
