/* CUDA's execution model on a CPU, for tests: cuda/launch.h includes this in place of the CUDA
 * runtime. Every CUDA name that a kernel may use has its meaning here or in cuda_model.cpp; one
 * that is missing is one that launch.h does not allow.
 *
 * A launch runs its blocks one after the other, each thread of a block on a stack of its own, in an
 * order that a seed decides (emulation.h). A thread runs until it waits: at __syncthreads for the
 * whole block, at __syncwarp, shuffles and votes for the lanes of the mask. What would hang or be
 * undefined on a GPU ends the process with one line that names kernel, block and thread:
 *   - a __syncthreads that part of the block never reaches, or reaches elsewhere in the source;
 *   - a shuffle or vote without one of its mask's lanes, or a shuffle from a lane outside it;
 *   - more shared memory than a block has.
 * Shared memory starts as garbage that the seed decides, of which one half of the seeds has NaNs.
 * Under AddressSanitizer each array has its redzones;
 * under ThreadSanitizer two accesses that no barrier orders are a race, also between blocks. */
#ifndef SG_TESTS_CUDA_MODEL_H
#define SG_TESTS_CUDA_MODEL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <tuple>
#include <type_traits>
#include <vector>

#include "emulation/cuda_runtime_model.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

/* --- types ------------------------------------------------------------------------------------ */

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

/* Aligned as CUDA's, so that UBSan finds a load that a GPU would refuse. */
#define SG_VECTOR_2(type, name, bytes)                                                             \
    struct alignas(bytes) name {                                                                   \
        type x, y;                                                                                 \
    };                                                                                             \
    static inline name make_##name(type x, type y) { return name{x, y}; }
#define SG_VECTOR_4(type, name, bytes)                                                             \
    struct alignas(bytes) name {                                                                   \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    static inline name make_##name(type x, type y, type z, type w) { return name{x, y, z, w}; }

SG_VECTOR_2(float, float2, 8)
SG_VECTOR_4(float, float4, 16)
SG_VECTOR_2(double, double2, 16)
SG_VECTOR_2(int, int2, 8)
SG_VECTOR_4(int, int4, 16)
SG_VECTOR_2(unsigned, uint2, 8)
SG_VECTOR_4(unsigned, uint4, 16)
SG_VECTOR_2(unsigned short, ushort2, 4)
SG_VECTOR_4(unsigned short, ushort4, 8)
SG_VECTOR_4(unsigned char, uchar4, 4)
SG_VECTOR_2(long long, longlong2, 16)
#undef SG_VECTOR_2
#undef SG_VECTOR_4

/* Of the thread that runs. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static const int warpSize = 32;

/* --- the machine: cuda_model.cpp -------------------------------------------------------------- */

namespace sg_emulated {

/* Where in the source a thread waits. */
struct site {
    const char *file;
    int line;
};

/* Wait for all threads of the block. */
void barrier(site at);
/* Wait for the lanes of `mask`, then get what lane `source` gave, or all predicates. */
void sync_warp(unsigned mask, site at);
uint64_t shuffle(const char *what, unsigned mask, uint64_t given, int source, site at);
unsigned vote(const char *what, unsigned mask, bool predicate, site at);
int lane();

/* The block's array that `key` stands for; the first of its threads that asks makes it. */
void *shared(const void *key, size_t bytes);
void *shared_dynamic();

/* f(64 bits) for what may be a pointer: x itself, or a piece of a struct. */
template <typename T, typename F> void each_word(const T &x, F f) {
    if constexpr (std::is_pointer<T>::value) {
        f((uint64_t)(uintptr_t)x);
    } else if constexpr (std::is_class<T>::value && alignof(T) == sizeof(uint64_t)) {
        uint64_t words[sizeof(T) / sizeof(uint64_t)];

        memcpy(words, &x, sizeof words);
        for (uint64_t word : words) f(word);
    }
}

/* Without what lies in the gaps of a struct, which is whatever was there before. */
template <typename T> void argument_must_reach(const char *kernel, cudaStream_t stream, T x) {
#ifndef __clang__ /* has nothing to clear them with, but MemorySanitizer, which knows them */
    __builtin_clear_padding(&x);
#endif
    each_word(x, [=](uint64_t word) { must_reach(kernel, stream, word); });
}

/* A kernel's name as SG_LAUNCH has it, and the file that launches it. */
struct origin {
    const char *kernel, *file;
};

/* What a launch is told of sizes: its integers, and what may be integers in structs. Those that no
 * kernel of that many blocks or threads divides evenly show whether it guards its tail. */
class sizes {
  public:
    uint64_t hash = 1; /* of all of them */
    std::vector<uint64_t> odd;

    template <typename T> void add(const T &x) {
        if constexpr (std::is_integral<T>::value)
            add_number((uint64_t)x);
        else if constexpr (std::is_class<T>::value)
            each_word(x, [this](uint64_t word) { add_word(word); });
    }

  private:
    void add_number(uint64_t x) {
        if (x >> 31) return; /* a pointer, or a double */
        hash = (hash ^ x) * 0x100000001b3u;
        if (x > 1 && x % 2 == 1) odd.push_back(x);
    }

    /* 64 bits of a struct: one number, or two small ones side by side. */
    void add_word(uint64_t word) {
        uint64_t low = word & 0xffffffffu, high = word >> 32;

        if (high == 0 || (low | high) >> 15) return add_number(word);
        add_number(low);
        add_number(high);
    }
};

/* Calls body(arguments) once a thread. */
void run(origin from, const sizes &told, dim3 grid, dim3 block, size_t dynamic_bytes,
         void (*body)(const void *arguments), const void *arguments);

/* A kernel and its launch configuration; called with the kernel's arguments. */
template <typename... P> class launcher {
    origin from;
    dim3 grid, block;
    size_t dynamic_bytes;
    cudaStream_t stream;
    void (*kernel)(P...);

    static_assert((std::is_trivially_copyable<P>::value && ...),
                  "a kernel's parameters are copied bytewise");
    static_assert((sizeof(P) + ... + 0) <= 4096, "a kernel's parameters are 4096 bytes at most");

    struct call {
        void (*kernel)(P...);
        std::tuple<P...> arguments;
    };

    static void body(const void *data) {
        const call *c = static_cast<const call *>(data);

        std::apply(c->kernel, c->arguments);
    }

  public:
    launcher(origin from_, dim3 grid_, dim3 block_, size_t dynamic_bytes_, cudaStream_t stream_,
             void (*kernel_)(P...))
        : from(from_), grid(grid_), block(block_), dynamic_bytes(dynamic_bytes_), stream(stream_),
          kernel(kernel_) {}

    void operator()(P... arguments) const {
        call c = {kernel, std::tuple<P...>(arguments...)};
        sizes told;

        (told.add(arguments), ...);
        (argument_must_reach(from.kernel, stream, arguments), ...);
        put(stream, [l = *this, c, told] {
            run(l.from, told, l.grid, l.block, l.dynamic_bytes, body, &c);
        });
    }
};

} // namespace sg_emulated

#define SG_LAUNCH(kernel, grid, block, shared, stream, ...)                                        \
    (sg_emulated::launcher(sg_emulated::origin{#kernel, __FILE__}, (grid), (block), (shared),      \
                           (stream), (kernel))(__VA_ARGS__))
#define SG_SHARED(type, name, count)                                                               \
    static char name##_key;                                                                        \
    type(&name)[count] =                                                                           \
        *static_cast<type(*)[count]>(sg_emulated::shared(&name##_key, sizeof(type[count])))
#define SG_SHARED_DYNAMIC(type, name)                                                              \
    type *name = static_cast<type *>(sg_emulated::shared_dynamic())

/* --- barriers, shuffles, votes ---------------------------------------------------------------- */

/* Last parameters of what waits: where it was called. (A default argument that is a struct of the
 * two would name this file.) */
#define SG_CALLED_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define SG_SITE                                                                                    \
    sg_emulated::site { file, line }

static inline void __syncthreads(SG_CALLED_AT) { sg_emulated::barrier(SG_SITE); }

static inline void __syncwarp(unsigned mask = 0xffffffffu, SG_CALLED_AT) {
    sg_emulated::sync_warp(mask, SG_SITE);
}

namespace sg_emulated {

template <typename T> T shuffle_of(const char *what, unsigned mask, T x, int source, site at) {
    uint64_t bits = 0;

    memcpy(&bits, &x, sizeof x);
    bits = shuffle(what, mask, bits, source, at);
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The lane read, which is one's own where the segment of `width` lanes ends. */
static inline int lane_at(int from, int width) {
    return (lane() & ~(width - 1)) + (from & (width - 1));
}

static inline int lane_up(unsigned delta, int width) {
    int from = lane() - (int)delta;

    return from < (lane() & ~(width - 1)) ? lane() : from;
}

static inline int lane_down(unsigned delta, int width) {
    int from = lane() + (int)delta;

    return from > (lane() | (width - 1)) ? lane() : from;
}

static inline int lane_xor(int with, int width) {
    int from = lane() ^ with;

    return from > (lane() | (width - 1)) ? lane() : from;
}

} // namespace sg_emulated

/* Overloads as CUDA's, so that what nvcc converts is converted here. */
#define SG_SHUFFLE(name, type, step_type, source)                                                  \
    static inline type name(unsigned mask, type x, step_type step, int width = 32, SG_CALLED_AT) { \
        return sg_emulated::shuffle_of(#name, mask, x, sg_emulated::source(step, width), SG_SITE); \
    }
#define SG_SHUFFLES(type)                                                                          \
    SG_SHUFFLE(__shfl_sync, type, int, lane_at)                                                    \
    SG_SHUFFLE(__shfl_up_sync, type, unsigned, lane_up)                                            \
    SG_SHUFFLE(__shfl_down_sync, type, unsigned, lane_down)                                        \
    SG_SHUFFLE(__shfl_xor_sync, type, int, lane_xor)
SG_SHUFFLES(int)
SG_SHUFFLES(unsigned)
SG_SHUFFLES(long)
SG_SHUFFLES(unsigned long)
SG_SHUFFLES(long long)
SG_SHUFFLES(unsigned long long)
SG_SHUFFLES(float)
SG_SHUFFLES(double)
#undef SG_SHUFFLES
#undef SG_SHUFFLE

static inline unsigned __ballot_sync(unsigned mask, int predicate, SG_CALLED_AT) {
    return sg_emulated::vote("__ballot_sync", mask, predicate != 0, SG_SITE);
}

static inline int __any_sync(unsigned mask, int predicate, SG_CALLED_AT) {
    return sg_emulated::vote("__any_sync", mask, predicate != 0, SG_SITE) != 0;
}

static inline int __all_sync(unsigned mask, int predicate, SG_CALLED_AT) {
    return sg_emulated::vote("__all_sync", mask, predicate == 0, SG_SITE) == 0;
}

#undef SG_CALLED_AT
#undef SG_SITE

/* --- atomics: integers alone, and they order nothing else --------------------------------------
 */

#define SG_ATOMICS(type)                                                                           \
    static inline type atomicAdd(type *p, type x) {                                                \
        return __atomic_fetch_add(p, x, __ATOMIC_RELAXED);                                         \
    }                                                                                              \
    static inline type atomicOr(type *p, type x) {                                                 \
        return __atomic_fetch_or(p, x, __ATOMIC_RELAXED);                                          \
    }                                                                                              \
    static inline type atomicMax(type *p, type x) {                                                \
        type old = __atomic_load_n(p, __ATOMIC_RELAXED);                                           \
                                                                                                   \
        while (old < x && !__atomic_compare_exchange_n(p, &old, x, true, __ATOMIC_RELAXED,         \
                                                       __ATOMIC_RELAXED)) {                        \
        }                                                                                          \
        return old;                                                                                \
    }                                                                                              \
    static inline type atomicMin(type *p, type x) {                                                \
        type old = __atomic_load_n(p, __ATOMIC_RELAXED);                                           \
                                                                                                   \
        while (old > x && !__atomic_compare_exchange_n(p, &old, x, true, __ATOMIC_RELAXED,         \
                                                       __ATOMIC_RELAXED)) {                        \
        }                                                                                          \
        return old;                                                                                \
    }
SG_ATOMICS(int)
SG_ATOMICS(unsigned)
SG_ATOMICS(unsigned long long)
#undef SG_ATOMICS

/* --- arithmetic that <math.h> lacks ----------------------------------------------------------- */

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline unsigned __umulhi(unsigned x, unsigned y) {
    return (unsigned)(((uint64_t)x * y) >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)(((unsigned __int128)x * y) >> 64);
}

#define SG_BIT_CAST(name, to, from)                                                                \
    static inline to name(from x) {                                                                \
        to y;                                                                                      \
                                                                                                   \
        static_assert(sizeof y == sizeof x, "a bit cast");                                         \
        memcpy(&y, &x, sizeof y);                                                                  \
        return y;                                                                                  \
    }
SG_BIT_CAST(__float_as_int, int, float)
SG_BIT_CAST(__float_as_uint, unsigned, float)
SG_BIT_CAST(__int_as_float, float, int)
SG_BIT_CAST(__uint_as_float, float, unsigned)
SG_BIT_CAST(__double_as_longlong, long long, double)
SG_BIT_CAST(__longlong_as_double, double, long long)
#undef SG_BIT_CAST

/* Faster and less exact on a GPU. */
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
/* Never contracted to a fused multiplication and addition. */
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dsub_rn(double x, double y) { return x - y; }
static inline double __dmul_rn(double x, double y) { return x * y; }

template <typename T> static inline T __ldg(const T *p) { return *p; }

#define SG_MIN_MAX(result, first, second)                                                          \
    static inline result min(first x, second y) {                                                  \
        return (result)x < (result)y ? (result)x : (result)y;                                      \
    }                                                                                              \
    static inline result max(first x, second y) {                                                  \
        return (result)x > (result)y ? (result)x : (result)y;                                      \
    }
SG_MIN_MAX(int, int, int)
SG_MIN_MAX(unsigned, unsigned, unsigned)
SG_MIN_MAX(unsigned, unsigned, int)
SG_MIN_MAX(unsigned, int, unsigned)
SG_MIN_MAX(long, long, long)
SG_MIN_MAX(unsigned long, unsigned long, unsigned long)
SG_MIN_MAX(unsigned long, unsigned long, long)
SG_MIN_MAX(unsigned long, long, unsigned long)
SG_MIN_MAX(long long, long long, long long)
SG_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
SG_MIN_MAX(unsigned long long, unsigned long long, long long)
SG_MIN_MAX(unsigned long long, long long, unsigned long long)
#undef SG_MIN_MAX

/* The other is taken where one is NaN. */
static inline float min(float x, float y) { return fminf(x, y); }
static inline float max(float x, float y) { return fmaxf(x, y); }
static inline double min(double x, double y) { return fmin(x, y); }
static inline double max(double x, double y) { return fmax(x, y); }
static inline double min(float x, double y) { return fmin((double)x, y); }
static inline double min(double x, float y) { return fmin(x, (double)y); }
static inline double max(float x, double y) { return fmax((double)x, y); }
static inline double max(double x, float y) { return fmax(x, (double)y); }

#endif
