#define _GNU_SOURCE /* setenv, MAP_ANONYMOUS */

#include "cpu/blas.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/log.h"
#include "core/mem.h"
#include "cpu/cpu.h"
#include "cpu/dnnl.h"

typedef void (*sgemm_fn)(int order, int transpose_a, int transpose_b, int m, int n, int k,
                         float alpha, const float *a, int lda, const float *b, int ldb, float beta,
                         float *c, int ldc);

/* CBLAS's constants (cblas.h) */
enum { kRowMajor = 101, kNoTranspose = 111, kTranspose = 112 };

typedef enum { ISA_OPEN, ISA_AVX2, ISA_NATIVE } isa_choice;

static const char kNumerics[] = " numerics ";

/* The instruction set is a property of the process, for oneDNN and OpenBLAS keep it so. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static isa_choice chosen = ISA_OPEN;
static bool asked;     /* for OpenBLAS */
static sgemm_fn sgemm; /* NULL: not asked for, or not installed */
static char blas_version[64];

static sg_status choose(isa_choice isa) {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return sg_fail(SG_ERR_UNAVAILABLE, "cpu: this processor has no AVX2 and FMA, which is the "
                                           "least that the CPU backend can use");
    if (chosen != ISA_OPEN && chosen != isa)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "run.isa: this process already uses %s; choose before "
                       "the first program is compiled",
                       chosen == ISA_AVX2 ? "avx2" : "native");
    if (chosen == ISA_OPEN && isa == ISA_AVX2) sg_dnnl_cap_avx2();
    chosen = isa;
    return SG_OK;
}

sg_status sg_cpu_set_isa(const char *isa) {
    bool avx2 = strcmp(isa, "avx2") == 0;
    sg_status st;

    if (!avx2 && strcmp(isa, "native") != 0)
        return sg_fail(SG_ERR_CONFIG, "run.isa: '%s' is neither avx2 nor native", isa);
    pthread_mutex_lock(&lock);
    st = choose(avx2 ? ISA_AVX2 : ISA_NATIVE);
    pthread_mutex_unlock(&lock);
    return st;
}

sg_status sg_blas_default_isa(void) {
    sg_status st;

    pthread_mutex_lock(&lock);
    st = choose(chosen == ISA_OPEN ? ISA_AVX2 : chosen);
    pthread_mutex_unlock(&lock);
    return st;
}

static int block(void) { return chosen == ISA_NATIVE && sg_dnnl_has_avx512() ? 16 : 8; }

int sg_cpu_block(void) {
    int n;

    pthread_mutex_lock(&lock);
    n = choose(chosen == ISA_OPEN ? ISA_AVX2 : chosen) == SG_OK ? block() : 8;
    pthread_mutex_unlock(&lock);
    return n;
}

static void put_env(const char *name, const char *value) {
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

/* *library: NULL where there is none. Its threads are off: a shard is computed by one thread. The
 * environment is put back, so that programs started by this one do not inherit it. */
static sg_status open_with(const char *core_type, void **library) {
    static const char *const kName[2] = {"OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS"};
    const char *value[2] = {core_type, "1"};
    char *before[2] = {NULL, NULL};
    sg_status st = SG_OK;

    for (int i = 0; i < 2; i++) {
        const char *old = getenv(kName[i]);

        before[i] = old ? sg_strdup(old) : NULL;
        if (old && !before[i]) st = sg_fail(SG_ERR_OOM, "cpu: no memory to load OpenBLAS");
    }
    if (st == SG_OK) {
        for (int i = 0; i < 2; i++) put_env(kName[i], value[i]);
        *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
        for (int i = 0; i < 2; i++) put_env(kName[i], before[i]);
    }
    for (int i = 0; i < 2; i++) sg_free(before[i]);
    return st;
}

/* ISO C has no conversion from an object pointer to a function pointer; POSIX demands this one. */
static bool find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);

    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static sg_status find_functions(void *library) {
    void (*set_threads)(int);
    char *(*config)(void);
    sgemm_fn found;

    if (!find(library, "cblas_sgemm", &found) ||
        !find(library, "openblas_set_num_threads", &set_threads) ||
        !find(library, "openblas_get_config", &config))
        return sg_fail(SG_ERR_UNAVAILABLE, "cpu: libopenblas.so.0 is not OpenBLAS");
    set_threads(1);
    /* "OpenBLAS 0.3.21 NO_LAPACKE .." */
    snprintf(blas_version, sizeof blas_version, "%s", config());
    sgemm = found;
    return SG_OK;
}

static sg_status load(void) {
    void *library;

    SG_TRY(choose(chosen == ISA_OPEN ? ISA_AVX2 : chosen));
    if (asked) return SG_OK;
    SG_TRY(open_with(chosen == ISA_AVX2 ? "Haswell" : NULL, &library));
    if (library && find_functions(library) != SG_OK) {
        dlclose(library);
        return SG_ERR_UNAVAILABLE;
    }
    if (!library)
        sg_log(SG_LOG_INFO, "libopenblas.so.0 is not installed: oneDNN multiplies matrices");
    asked = true;
    return SG_OK;
}

sg_status sg_blas_load(bool *found) {
    sg_status st;

    pthread_mutex_lock(&lock);
    st = load();
    *found = sgemm != NULL;
    pthread_mutex_unlock(&lock);
    return st;
}

void sg_cpu_class(char *text, size_t bytes) {
    char version[32], blas[sizeof blas_version + 1] = "";
    char *space;

    sg_dnnl_version(version, sizeof version);
    pthread_mutex_lock(&lock);
    if (sgemm) {
        snprintf(blas, sizeof blas, " %s", blas_version);
        space = strchr(blas + 1, ' '); /* keep the first two words */
        space = space ? strchr(space + 1, ' ') : NULL;
        if (space) *space = 0;
    } else if (asked) {
        snprintf(blas, sizeof blas, " sgemm");
    }
    snprintf(text, bytes, "cpu %s%s oneDNN %s%s%s%d", chosen == ISA_NATIVE ? "native" : "avx2",
             block() == 16 ? " avx512" : "", version, blas, kNumerics, SG_CPU_NUMERICS);
    pthread_mutex_unlock(&lock);
}

/* The number of a class, and how much stands before it. */
static int numerics_of(const char *text, size_t *length) {
    const char *at = strstr(text, kNumerics);

    *length = at ? (size_t)(at - text) : strlen(text);
    return at ? atoi(at + strlen(kNumerics)) : 1;
}

bool sg_cpu_same_class(const char *a, const char *b) {
    size_t n, m;

    return numerics_of(a, &n) == numerics_of(b, &m) && n == m && strncmp(a, b, n) == 0;
}

/* --- products --------------------------------------------------------------------------------- */

/* OpenBLAS keeps a buffer for each product that it computes at one time, and where there is no room
 * for one it tries again for ever, deaf to signals (0.3.21, blas_memory_alloc). */
static const size_t kBuffer = (128 << 20) + (64 << 10);
static atomic_int products; /* under way */
static atomic_int most;     /* that there was room for */

/* Whether n buffers fit. One by one: of all at once a kernel may say that no machine has so much.
 */
static bool fit(int n) {
    void *buffer = mmap(NULL, kBuffer, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool all = buffer != MAP_FAILED && (n == 1 || fit(n - 1));

    if (buffer != MAP_FAILED) munmap(buffer, kBuffer);
    return all;
}

/* For n products at a time. Those that others were promised may not be there yet, so all n have to
 * fit beside what is there. */
static sg_status make_room(int n) {
    sg_status st = SG_OK;

    pthread_mutex_lock(&lock);
    if (n > most && !fit(n))
        st =
            sg_fail(SG_ERR_OOM,
                    "OpenBLAS has no room for buffers of %d x 128 MiB (ulimit -v, or a system that "
                    "does not overcommit): fewer train.threads need less",
                    n);
    else if (n > most)
        most = n;
    pthread_mutex_unlock(&lock);
    return st;
}

sg_status sg_blas_matmul(const float *a, const float *b, float *c, int64_t M, int64_t N, int64_t K,
                         bool transpose_a, bool transpose_b) {
    int n = atomic_fetch_add(&products, 1) + 1;
    sg_status st = n > atomic_load(&most) ? make_room(n) : SG_OK;

    if (st == SG_OK)
        sgemm(kRowMajor, transpose_a ? kTranspose : kNoTranspose,
              transpose_b ? kTranspose : kNoTranspose, (int)M, (int)N, (int)K, 1.0f, a,
              (int)(transpose_a ? M : K), b, (int)(transpose_b ? K : N), 0.0f, c, (int)N);
    atomic_fetch_sub(&products, 1);
    return st;
}
