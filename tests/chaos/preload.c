/* Misfortune on demand: loaded before the C library (LD_PRELOAD), it counts a program's calls on
 * files below one folder, and at the n-th kills the process, fails the call, or lets the disk lie.
 *
 *   SG_CHAOS_DIR=/folder           what counts: absolute paths in it, and descriptors of such files
 *   SG_CHAOS=WHAT:CALL:N[:COUNT]   at the N-th CALL, and the COUNT - 1 that follow (default 1)
 *   SG_CHAOS_LOG=/file             gets a line "WHAT CALL N PATH" for each that happened
 *   SG_CHAOS_CLOCK=SECONDS         the wall clock jumps there and back at every look at it
 *
 * CALL: open, write, pwrite, ftruncate, fsync, rename, link, unlink, or any.
 * WHAT: before, middle, after   SIGKILL, before the call, with half of the bytes written, after it
 *       during                  SIGKILL by another thread while the call is under way
 *       tear, hole              this fsync lies: COUNT calls later the file's last 4 KiB are cut
 *                               off, or zeros, and the process is killed
 *       enospc, eio             the call fails; a large write first comes back half done */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096, kDuringMicroseconds = 1500 };

typedef enum { OPEN, WRITE, PWRITE, FTRUNCATE, FSYNC, RENAME, LINK, UNLINK, ANY, CALLS } call;
static const char *const call_name[CALLS] = {"open",   "write", "pwrite", "ftruncate", "fsync",
                                             "rename", "link",  "unlink", "any"};

typedef enum { NOTHING, BEFORE, MIDDLE, AFTER, DURING, TEAR, HOLE, ENOSPC_, EIO_, WHATS } what;
static const char *const what_name[WHATS] = {"nothing", "before", "middle", "after", "during",
                                             "tear",    "hole",   "enospc", "eio"};

static char folder[PATH_MAX];
static const char *log_path;
static what rule_what;
static call rule_call;
static long rule_n, rule_count;
static long clock_jump;
static _Atomic long seen[CALLS];
static _Atomic int lied_fd = -1; /* of the file whose end the disk will have lost */
static _Atomic long lied_at;

static int find(const char *name, const char *const *names, int n) {
    for (int i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0) return i;
    fprintf(stderr, "SG_CHAOS: %s: not known\n", name);
    _exit(64);
}

__attribute__((constructor)) static void begin(void) {
    const char *dir = getenv("SG_CHAOS_DIR"), *rule = getenv("SG_CHAOS");
    const char *jump = getenv("SG_CHAOS_CLOCK");
    char act[16], on[16];

    log_path = getenv("SG_CHAOS_LOG");
    if (jump) clock_jump = atol(jump);
    if (!dir || !rule) return;
    snprintf(folder, sizeof folder, "%s", dir);
    rule_count = 1;
    if (sscanf(rule, "%15[^:]:%15[^:]:%ld:%ld", act, on, &rule_n, &rule_count) < 3) {
        fprintf(stderr, "SG_CHAOS: '%s' is not WHAT:CALL:N[:COUNT]\n", rule);
        _exit(64);
    }
    rule_what = (what)find(act, what_name, WHATS);
    rule_call = (call)find(on, call_name, CALLS);
}

/* --- what happened --------------------------------------------------------------------------- */

static bool below(const char *path) {
    size_t n = strlen(folder);

    return n > 0 && strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* The path of a descriptor into `path` (PATH_MAX), "" where it has none. */
static const char *path_of(int fd, char *path) {
    char link[64];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = '\0';
    return path;
}

static void note(what w, call c, long n, const char *path) {
    char line[PATH_MAX + 64];
    int length, fd;

    if (!log_path) return;
    length = snprintf(line, sizeof line, "%s %s %ld %s\n", what_name[w], call_name[c], n, path);
    fd = (int)syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
                      0666);
    if (fd < 0) return;
    syscall(SYS_write, fd, line, (size_t)length);
    syscall(SYS_close, fd);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void *die_soon(void *argument) {
    unsigned random = (unsigned)(uintptr_t)argument ^ (unsigned)getpid() * 2654435761u;

    usleep((useconds_t)(random % kDuringMicroseconds));
    die();
    return NULL;
}

/* The power goes out: what the disk said it had, it has not. */
static void lose_the_end(void) {
    static const char zeros[kPage];
    int fd = atomic_load(&lied_fd);
    struct stat info;
    off_t from;

    if (fstat(fd, &info) == 0 && info.st_size > kPage) {
        from = (info.st_size - 1) / kPage * kPage;
        if (rule_what == TEAR) syscall(SYS_ftruncate, fd, from);
        if (rule_what == HOLE)
            syscall(SYS_pwrite64, fd, zeros, (size_t)(info.st_size - from), from);
    }
    die();
}

/* Counts the call; what is to happen at it. Kills that come before it happen here. */
static what strike(call c, const char *path) {
    long n = atomic_fetch_add(&seen[c], 1) + 1, any = atomic_fetch_add(&seen[ANY], 1) + 1;
    pthread_t thread;

    if (atomic_load(&lied_fd) >= 0 && any >= atomic_load(&lied_at) + rule_count) lose_the_end();
    if (rule_what == NOTHING || (rule_call != c && rule_call != ANY)) return NOTHING;
    if (rule_call == ANY) n = any;
    if (rule_what == TEAR || rule_what == HOLE) {
        if (n < rule_n || atomic_load(&lied_fd) >= 0) return NOTHING;
    } else if (n < rule_n || n >= rule_n + rule_count) {
        return NOTHING;
    }
    if (rule_what != TEAR && rule_what != HOLE) note(rule_what, c, n, path);
    if (rule_what == BEFORE) die();
    if (rule_what == DURING && pthread_create(&thread, NULL, die_soon, (void *)(n * 7919)) == 0)
        pthread_detach(thread);
    return rule_what;
}

static bool fails(what w) {
    if (w == ENOSPC_) errno = ENOSPC;
    if (w == EIO_) errno = EIO;
    return w == ENOSPC_ || w == EIO_;
}

static int after(what w, int result) {
    if (w == AFTER || w == MIDDLE) die();
    return result;
}

/* --- the calls -------------------------------------------------------------------------------- */

#define REAL(result, name, ...)                                                                    \
    static result (*real)(__VA_ARGS__);                                                            \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

static int open_it(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    what w = below(path) ? strike(OPEN, path) : NOTHING;

    return fails(w) ? -1 : after(w, real(path, flags, mode));
}

int open(const char *path, int flags, ...) {
    va_list args;
    mode_t mode;

    REAL(int, "open", const char *, int, ...);
    va_start(args, flags);
    mode = flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(args, int) : 0;
    va_end(args);
    return open_it(real, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list args;
    mode_t mode;

    REAL(int, "open64", const char *, int, ...);
    va_start(args, flags);
    mode = flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(args, int) : 0;
    va_end(args);
    return open_it(real, path, flags, mode);
}

/* Half of a large write, in whole pages: files past the page cache take nothing else. */
static size_t half_of(size_t size) {
    return size >= 2 * kPage ? size / 2 / kPage * kPage : size / 2;
}

static bool half_done(what w, size_t size) {
    static _Atomic bool once;

    if (w == MIDDLE) return true;
    return (w == ENOSPC_ || w == EIO_) && size >= 2 * kPage && !atomic_exchange(&once, true);
}

ssize_t write(int fd, const void *data, size_t size) {
    char path[PATH_MAX];
    what w = NOTHING;
    ssize_t put;

    REAL(ssize_t, "write", int, const void *, size_t);
    if (folder[0] && fd > STDERR_FILENO && below(path_of(fd, path))) w = strike(WRITE, path);
    if (half_done(w, size))
        size = half_of(size);
    else if (fails(w))
        return -1;
    put = real(fd, data, size);
    after(w, 0);
    return put;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    char path[PATH_MAX];
    what w = NOTHING;
    ssize_t put;

    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    if (folder[0] && below(path_of(fd, path))) w = strike(PWRITE, path);
    if (half_done(w, size))
        size = half_of(size);
    else if (fails(w))
        return -1;
    put = real(fd, data, size, offset);
    after(w, 0);
    return put;
}

int ftruncate(int fd, off_t size) {
    char path[PATH_MAX];
    what w = NOTHING;

    REAL(int, "ftruncate", int, off_t);
    if (folder[0] && below(path_of(fd, path))) w = strike(FTRUNCATE, path);
    return fails(w) ? -1 : after(w, real(fd, size));
}

static void remember_lie(what w, const char *path) {
    struct stat info;
    int fd;

    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= kPage) return;
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return;
    note(w, FSYNC, atomic_load(&seen[FSYNC]), path);
    atomic_store(&lied_at, atomic_load(&seen[ANY]));
    atomic_store(&lied_fd, fd);
}

int fsync(int fd) {
    char path[PATH_MAX];
    what w = NOTHING;

    REAL(int, "fsync", int);
    if (folder[0] && below(path_of(fd, path))) w = strike(FSYNC, path);
    if (w == TEAR || w == HOLE) remember_lie(w, path);
    return fails(w) ? -1 : after(w, real(fd));
}

int rename(const char *from, const char *to) {
    what w = below(to) ? strike(RENAME, to) : NOTHING;

    REAL(int, "rename", const char *, const char *);
    return fails(w) ? -1 : after(w, real(from, to));
}

int link(const char *from, const char *to) {
    what w = below(to) ? strike(LINK, to) : NOTHING;

    REAL(int, "link", const char *, const char *);
    return fails(w) ? -1 : after(w, real(from, to));
}

int unlink(const char *path) {
    what w = below(path) ? strike(UNLINK, path) : NOTHING;

    REAL(int, "unlink", const char *);
    return fails(w) ? -1 : after(w, real(path));
}

/* --- the clock -------------------------------------------------------------------------------- */

static time_t jump(void) {
    static _Atomic long looks;

    return clock_jump && atomic_fetch_add(&looks, 1) % 2 ? (time_t)clock_jump : 0;
}

int clock_gettime(clockid_t id, struct timespec *t) {
    int result;

    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    result = real(id, t);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += jump();
    return result;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    struct timespec now;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    *t = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *to) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
