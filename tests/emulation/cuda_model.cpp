/* The emulated GPU: threads on stacks of their own, and what they wait for. cuda_model.h tells what
 * it promises. This file is never instrumented by ThreadSanitizer, so that its own accesses are no
 * races; shared arrays are, from the kernel's side. */
#include "emulation/cuda_model.h"
#include "emulation/emulation.h"

#include <errno.h>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <sys/mman.h>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef SG_EMULATED_MSAN
#include <sanitizer/msan_interface.h>
#endif
#ifdef SG_EMULATED_TSAN
#include <sanitizer/tsan_interface.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace sg_emulated {

enum { kWarp = 32, kMaxThreads = 1024, kMaxShared = 48 << 10, kMaxGrid = 65535 };
enum { kStack = 256 << 10, kGuard = 4096 };

/* --- stacks ----------------------------------------------------------------------------------- */

/* Something that runs: the launching thread, or a stack. */
struct context {
    void *sp = nullptr; /* where it goes on; below it, the registers that a call keeps */
    void *bottom = nullptr;
    size_t size = 0;
    void *fake_stack = nullptr; /* AddressSanitizer's */
    void *fiber = nullptr;      /* ThreadSanitizer's */
};

/* --- what ThreadSanitizer is told --------------------------------------------------------------
 *
 * A stack is a fiber, and going from one to another orders nothing. What does is told here: a
 * launch and its end, for all its threads; __syncthreads; __syncwarp. Shuffles, votes and atomics
 * order nothing on a GPU, nor here. A fiber that ran a thread of one block knows what that block's
 * barriers ordered, so a thread of another block on it would hide races between the two: blocks
 * take turns on two sets of stacks, as if there were two multiprocessors. */

#ifdef SG_EMULATED_TSAN
static const bool fibers = true;
static void *this_fiber() { return __tsan_get_current_fiber(); }
static void *new_fiber() { return __tsan_create_fiber(0); }
static void be_fiber(void *fiber) { __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync); }
static void orders_after(void *clock) { __tsan_acquire(clock); }
static void orders_before(void *clock) { __tsan_release(clock); }
extern "C" void __tsan_ignore_thread_begin();
extern "C" void __tsan_ignore_thread_end();
/* What the emulation does for itself, with memory from malloc, is no access of a kernel's. */
struct untold {
    untold() { __tsan_ignore_thread_begin(); }
    ~untold() { __tsan_ignore_thread_end(); }
};
#else
static const bool fibers = false;
static void *this_fiber() { return nullptr; }
static void *new_fiber() { return nullptr; }
static void be_fiber(void *) {}
static void orders_after(void *) {}
static void orders_before(void *) {}
struct untold {
#ifdef SG_EMULATED_MSAN /* strings, which libstdc++ writes */
    untold() { __msan_scoped_disable_interceptor_checks(); }
    ~untold() { __msan_scoped_enable_interceptor_checks(); }
#else
    untold() {}
#endif
};
#endif

/* Addresses that stand for what happened before. */
struct clocks {
    char barrier, warp[kMaxThreads / kWarp];
};

/* Save the registers and the stack of *from, go on with those of `to`. swapcontext does the same
 * and changes the signal mask, two system calls each time. */
extern "C" void sg_emulated_switch(void **from, void *to);
asm(R"(
    .text
    .type sg_emulated_switch, @function
sg_emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size sg_emulated_switch, . - sg_emulated_switch
)");

static void switch_to(context *from, context *to) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->size);
#endif
    be_fiber(to->fiber);
    sg_emulated_switch(&from->sp, to->sp);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

/* --- the launch under way --------------------------------------------------------------------- */

enum state { READY, AT_BARRIER, IN_WARP, LEFT };

struct thread {
    unsigned number; /* in the block */
    uint3 index;
    context *stack = nullptr; /* once it has begun */
    sg_emulated::state state = READY;
    const char *what = nullptr; /* it waits for, if it does: "__shfl_sync" */
    site at = {nullptr, 0};
    unsigned mask = 0;
    uint64_t given = 0, got = 0; /* to a shuffle or vote, and from it */
    int source = -1;             /* lane to shuffle from; -1: a vote */
};

struct array {
    const void *key;
    void *data;
};

static struct {
    std::mutex one; /* launch at a time */
    const char *kernel;
    std::string name; /* kernel's, without template arguments */
    void (*body)(const void *);
    const void *arguments;
    size_t dynamic_bytes, shared_bytes;

    context launching;
    std::vector<std::unique_ptr<context>> stacks;
    std::vector<context *> free_stacks[2]; /* the first alone, or in turns */
    std::vector<context *> left_stacks;    /* of fibers, until the block ends */
    int turn;
    clocks ordered[2]; /* of the blocks of each turn */
    char launch, end;  /* clocks */

    thread threads[kMaxThreads];
    unsigned n_threads;          /* of the block */
    std::vector<thread *> ready; /* in the order in which they run */
    size_t next;                 /* of `ready` */
    thread *running;
    unsigned n_left, n_at_barrier;
    std::vector<array> arrays; /* shared */
    uint64_t random;
} gpu;

static thread_local cudaError_t last_error = cudaSuccess;
static thread_local char last_text[256];

static uint64_t initial_seed() {
    const char *text = getenv("SG_EMULATION_SEED");

    return text ? strtoull(text, nullptr, 10) : 1;
}

static uint64_t seed = initial_seed();

static uint64_t mix(uint64_t x) { /* splitmix64 */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* By the upper half of a product: a division would be a tenth of all time. */
static uint64_t random_below(uint64_t n) {
    gpu.random = mix(gpu.random);
    return (uint64_t)((unsigned __int128)gpu.random * n >> 64);
}

__attribute__((noreturn, format(printf, 2, 3))) static void fail(const thread *t, const char *fmt,
                                                                 ...) {
    va_list args;

    fprintf(stderr, "cuda emulation: %s, block (%u, %u, %u)", gpu.name.c_str(), blockIdx.x,
            blockIdx.y, blockIdx.z);
    if (t) fprintf(stderr, ", thread (%u, %u, %u)", t->index.x, t->index.y, t->index.z);
    fputs(": ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

/* --- threads ---------------------------------------------------------------------------------- */

static void begin(thread *t, context *stack) {
    t->stack = stack;
    gpu.running = t;
    threadIdx = t->index;
}

/* The thread whose turn it is, if it has not begun: it may then run on the stack of one that has
 * left, without a switch. */
static thread *next_to_begin() {
    if (fibers || gpu.next == gpu.ready.size() || gpu.ready[gpu.next]->stack) return nullptr;
    return gpu.ready[gpu.next++];
}

/* What a stack does for ever: be a thread, leave, be another. */
static void be_threads() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, (const void **)&gpu.launching.bottom,
                                    &gpu.launching.size);
#endif
    for (;;) {
        context *stack = gpu.running->stack;
        thread *next;

        do {
            orders_after(&gpu.launch);
            gpu.body(gpu.arguments);
            orders_before(&gpu.end);
            gpu.running->state = LEFT;
            gpu.n_left++;
            next = next_to_begin();
            if (next) begin(next, stack);
        } while (next);
        switch_to(stack, &gpu.launching);
    }
}

static context *new_stack() {
    char *block = static_cast<char *>(mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    std::unique_ptr<context> owned(new context);
    context *c = owned.get();
    void **top;

    if (block == MAP_FAILED || mprotect(block, kGuard, PROT_NONE) != 0)
        fail(nullptr, "no memory for a stack");
    c->bottom = block + kGuard;
    c->size = kStack;
    c->fiber = new_fiber();
    top = reinterpret_cast<void **>(block + kGuard + kStack);
    *--top = nullptr; /* be_threads returns to nowhere, and finds the stack aligned as by a call */
    *--top = reinterpret_cast<void *>(be_threads);
    c->sp = top - 6; /* rbp, rbx, r12 .. r15: zero, as the memory is fresh */
    gpu.stacks.push_back(std::move(owned));
    return c;
}

static context *free_stack() {
    std::vector<context *> &stacks = gpu.free_stacks[gpu.turn];
    context *stack;

    if (stacks.empty()) return new_stack();
    stack = stacks.back();
    stacks.pop_back();
    return stack;
}

/* Until it waits, or all that begin on its stack have left. */
static void resume(thread *t) {
    begin(t, t->stack ? t->stack : free_stack());
    switch_to(&gpu.launching, t->stack);
    if (gpu.running->state != LEFT) return;
    /* a fiber is one thread of a block: what two threads on it did would be in order */
    (fibers ? gpu.left_stacks : gpu.free_stacks[gpu.turn]).push_back(gpu.running->stack);
}

/* The running thread waits. */
static void wait(state s, const char *what, site at) {
    thread *t = gpu.running;

    t->state = s;
    t->what = what;
    t->at = at;
}

static void suspend() { switch_to(gpu.running->stack, &gpu.launching); }

/* These go on, in any order. */
static void release(thread *const *list, size_t n) {
    size_t first = gpu.ready.size();
    untold own;

    for (size_t i = 0; i < n; i++) {
        list[i]->state = READY;
        gpu.ready.push_back(list[i]);
        std::swap(gpu.ready.back(), gpu.ready[first + random_below(i + 1)]);
    }
}

/* All of these go on knowing what each has done; before any does. */
static void order_all(thread *const *list, size_t n, void *clock) {
    void *self = this_fiber();

    for (size_t i = 0; fibers && i < n; i++) {
        be_fiber(list[i]->stack->fiber);
        orders_before(clock);
    }
    for (size_t i = 0; fibers && i < n; i++) {
        be_fiber(list[i]->stack->fiber);
        orders_after(clock);
    }
    be_fiber(self);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* "waits in __syncthreads (norm.cu:45)" */
static std::string doing(const thread *t) {
    if (t->state == LEFT) return "has left the kernel";
    return std::string("waits in ") + t->what + " (" + base_name(t->at.file) + ":" +
           std::to_string(t->at.line) + ")";
}

__attribute__((noreturn)) static void fail_apart(const thread *t, const thread *other) {
    fail(t, "%s, but thread (%u, %u, %u) %s", doing(t).c_str(), other->index.x, other->index.y,
         other->index.z, doing(other).c_str());
}

/* --- barriers --------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b) { return a == b || strcmp(a, b) == 0; }

static bool same_site(site a, site b) { return a.line == b.line && same_text(a.file, b.file); }

static void open_barrier() {
    thread *list[kMaxThreads];
    size_t n = gpu.n_threads;

    for (size_t i = 0; i < n; i++) {
        list[i] = &gpu.threads[i];
        if (!same_site(list[i]->at, list[0]->at)) fail_apart(list[0], list[i]);
    }
    gpu.n_at_barrier = 0;
    order_all(list, n, &gpu.ordered[gpu.turn].barrier);
    release(list, n);
}

void barrier(site at) {
    wait(AT_BARRIER, "__syncthreads", at);
    if (++gpu.n_at_barrier == gpu.n_threads) open_barrier();
    suspend();
}

/* --- warps ------------------------------------------------------------------------------------ */

int lane() { return (int)(gpu.running->number % kWarp); }

static bool meets(const thread *a, const thread *b) {
    return b->state == IN_WARP && a->mask == b->mask && same_text(a->what, b->what) &&
           same_site(a->at, b->at);
}

/* The warp's thread of that lane; NULL where the block has none. */
static thread *lane_of(const thread *t, int number) {
    size_t i = t->number / kWarp * kWarp + (size_t)number;

    return i < gpu.n_threads ? &gpu.threads[i] : nullptr;
}

/* All are here: give each what it asked for. */
static void exchange(thread *const *list, size_t n) {
    unsigned ballot = 0;

    for (size_t i = 0; i < n; i++) {
        if (list[i]->given & 1) ballot |= 1u << (list[i]->number % kWarp);
    }
    for (size_t i = 0; i < n; i++) {
        thread *t = list[i];
        const thread *source = t->source < 0 ? nullptr : lane_of(t, t->source);

        if (t->source < 0) {
            t->got = ballot;
        } else if (!source || !(t->mask >> t->source & 1)) {
            fail(t, "%s (%s:%d) reads lane %d, which is %s", t->what, base_name(t->at.file),
                 t->at.line, t->source, source ? "not in the mask" : "not in the block");
        } else {
            t->got = source->given;
        }
    }
    release(list, n);
}

static const char *const kSyncWarp = "__syncwarp";

/* Wait for the lanes of the mask. Those that the block does not have count as present. */
static uint64_t meet(const char *what, unsigned mask, uint64_t given, int source, site at) {
    thread *self = gpu.running, *list[kWarp];
    size_t n = 0;
    bool all = true;

    wait(IN_WARP, what, at);
    self->mask = mask;
    self->given = given;
    self->source = source;
    if (!(mask >> lane() & 1))
        fail(self, "%s (%s:%d): lane %d is not in its own mask 0x%x", what, base_name(at.file),
             at.line, lane(), mask);
    for (int i = 0; i < kWarp && all; i++) {
        thread *t = mask >> i & 1 ? lane_of(self, i) : nullptr;

        if (!t) continue;
        all = meets(self, t);
        list[n++] = t;
    }
    if (all && what == kSyncWarp)
        order_all(list, n, &gpu.ordered[gpu.turn].warp[self->number / kWarp]);
    if (all) exchange(list, n);
    suspend();
    return self->got;
}

void sync_warp(unsigned mask, site at) { meet(kSyncWarp, mask, 0, -1, at); }

uint64_t shuffle(const char *what, unsigned mask, uint64_t given, int source, site at) {
    return meet(what, mask, given, source, at);
}

unsigned vote(const char *what, unsigned mask, bool predicate, site at) {
    return (unsigned)meet(what, mask, predicate, -1, at);
}

/* Nobody can go on. */
__attribute__((noreturn)) static void fail_stuck() {
    const thread *t = nullptr;

    for (unsigned i = 0; i < gpu.n_threads; i++) {
        const thread &each = gpu.threads[i];

        if (each.state != LEFT && (!t || each.state == IN_WARP)) t = &each;
    }
    for (unsigned i = 0; i < gpu.n_threads; i++) {
        const thread &other = gpu.threads[i];

        if (t->state == AT_BARRIER && other.state != AT_BARRIER) fail_apart(t, &other);
        if (t->state == IN_WARP && other.number / kWarp == t->number / kWarp &&
            t->mask >> (other.number % kWarp) & 1 && !meets(t, &other))
            fail_apart(t, &other);
    }
    fail(t, "%s for ever", doing(t).c_str());
}

/* --- shared memory ---------------------------------------------------------------------------- */

static void *new_array(const void *key, size_t bytes) {
    untold own;
    void *data = malloc(bytes);

    if (!data) fail(gpu.running, "no memory for %zu bytes of shared memory", bytes);
    sg_emulation_garbage(data, bytes);
    gpu.arrays.push_back({key, data});
    gpu.shared_bytes += bytes;
    if (gpu.shared_bytes > kMaxShared)
        fail(gpu.running, "%zu bytes of shared memory, a block has %d", gpu.shared_bytes,
             kMaxShared);
    return data;
}

static void free_arrays() {
    untold own;

    for (const array &a : gpu.arrays) free(a.data);
    gpu.arrays.clear();
}

void *shared(const void *key, size_t bytes) {
    for (const array &a : gpu.arrays) {
        if (a.key == key) return a.data;
    }
    return new_array(key, bytes);
}

void *shared_dynamic() { return shared(nullptr, gpu.dynamic_bytes); }

/* --- the record of launches --------------------------------------------------------------------
 */

/* Of one kernel, whatever its template arguments. */
struct launches {
    long count = 0;
    bool odd = false; /* some had an odd size that is no dimension of the grid */
    std::set<uint64_t> shapes;
};

/* By file and kernel, "pool.cu max_pool2d_kernel". When the process ends they are written to a file
 * of its name in the environment's folder SG_EMULATION_RECORD, for kernels.py. */
class launch_record {
    std::map<std::string, launches> of;

  public:
    void add(const char *file, const sizes &told, dim3 grid, dim3 block) {
        untold own;
        launches &l = of[std::string(base_name(file)) + " " + gpu.name];

        l.count++;
        l.shapes.insert(mix(told.hash) ^ mix(((uint64_t)grid.x << 32 | grid.y) + grid.z) ^
                        mix((uint64_t)block.x << 32 | block.y));
        for (uint64_t size : told.odd)
            l.odd = l.odd || (size != grid.x && size != grid.y && size != grid.z);
    }

    bool has(const char *kernel) const {
        for (const auto &each : of) {
            if (each.first.substr(each.first.find(' ') + 1) == kernel) return true;
        }
        return false;
    }

    ~launch_record() {
        const char *folder = getenv("SG_EMULATION_RECORD");
        FILE *f =
            folder ? fopen((std::string(folder) + "/" + program_invocation_short_name).c_str(), "w")
                   : nullptr;

        if (!f) return;
        for (const auto &each : of)
            fprintf(f, "%s %ld %zu %d\n", each.first.c_str(), each.second.count,
                    each.second.shapes.size(), each.second.odd);
        fclose(f);
    }
};

static launch_record launched;

/* --- launches --------------------------------------------------------------------------------- */

static void run_block() {
    thread *list[kMaxThreads];
    unsigned n = blockDim.x * blockDim.y * blockDim.z;
    uint3 at = {0, 0, 0};

    gpu.n_threads = n;
    for (unsigned i = 0; i < n; i++) {
        list[i] = &gpu.threads[i];
        list[i]->number = i;
        list[i]->index = at;
        list[i]->stack = nullptr;
        if (++at.x < blockDim.x) continue;
        at.x = 0;
        if (++at.y < blockDim.y) continue;
        at.y = 0;
        at.z++;
    }
    gpu.ready.clear();
    gpu.next = gpu.n_left = gpu.n_at_barrier = 0;
    gpu.shared_bytes = 0;
    if (gpu.dynamic_bytes > 0) new_array(nullptr, gpu.dynamic_bytes);
    release(list, n);
    while (gpu.next < gpu.ready.size()) resume(gpu.ready[gpu.next++]);
    if (gpu.n_left < n) fail_stuck();
    free_arrays();
    if (!fibers) return;
    gpu.free_stacks[gpu.turn].insert(gpu.free_stacks[gpu.turn].end(), gpu.left_stacks.begin(),
                                     gpu.left_stacks.end());
    gpu.left_stacks.clear();
    gpu.turn = !gpu.turn;
}

static uint64_t gcd(uint64_t a, uint64_t b) { return b ? gcd(b, a % b) : a; }

/* Blocks first, first + step, ... modulo their number: each once. */
static void run_grid() {
    uint64_t n = (uint64_t)gridDim.x * gridDim.y * gridDim.z, step, b;

    gpu.random = mix(seed);
    b = random_below(n);
    do step = 1 + random_below(n);
    while (gcd(step, n) != 1);
    for (uint64_t i = 0; i < n; i++, b = (b + step) % n) {
        blockIdx = {(unsigned)(b % gridDim.x), (unsigned)(b / gridDim.x % gridDim.y),
                    (unsigned)(b / gridDim.x / gridDim.y)};
        run_block();
    }
}

/* "(add_kernel<float>)" -> "add_kernel" */
static std::string plain_name(const char *kernel) {
    std::string name = kernel;
    size_t first = name.find_first_not_of("( ");

    return name.substr(first, name.find_first_of("<) ", first) - first);
}

static bool refuse(const char *what, size_t asked, size_t limit) {
    last_error = cudaErrorInvalidConfiguration;
    snprintf(last_text, sizeof last_text, "%s: %s %zu, of %zu at most and 1 at least",
             gpu.name.c_str(), what, asked, limit);
    return false;
}

static bool legal(dim3 grid, dim3 block, size_t dynamic_bytes) {
    size_t threads = (size_t)block.x * block.y * block.z;

    if (threads == 0 || threads > kMaxThreads)
        return refuse("threads of a block:", threads, kMaxThreads);
    if (block.z > 64) return refuse("block.z is", block.z, 64);
    if (grid.x == 0 || grid.x > 0x7fffffffu) return refuse("grid.x is", grid.x, 0x7fffffffu);
    if (grid.y == 0 || grid.y > kMaxGrid) return refuse("grid.y is", grid.y, kMaxGrid);
    if (grid.z == 0 || grid.z > kMaxGrid) return refuse("grid.z is", grid.z, kMaxGrid);
    if (dynamic_bytes > kMaxShared)
        return refuse("bytes of shared memory:", dynamic_bytes, kMaxShared);
    return true;
}

void run(origin from, const sizes &told, dim3 grid, dim3 block, size_t dynamic_bytes,
         void (*body)(const void *), const void *arguments) {
    std::lock_guard<std::mutex> lock(gpu.one);

    gpu.name = plain_name(from.kernel);
    if (!legal(grid, block, dynamic_bytes)) return;
    launched.add(from.file, told, grid, block);
    gpu.body = body;
    gpu.arguments = arguments;
    gpu.dynamic_bytes = dynamic_bytes;
    gridDim = grid;
    blockDim = block;
    gpu.launching.fiber = this_fiber();
    orders_before(&gpu.launch);
    run_grid();
    orders_after(&gpu.end);
}

} // namespace sg_emulated

/* --- the runtime ------------------------------------------------------------------------------ */

cudaError_t cudaGetLastError() {
    cudaError_t error = sg_emulated::last_error;

    sg_emulated::last_error = cudaSuccess;
    return sg_emulation_is_lost() ? cudaErrorECCUncorrectable : error;
}

const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : sg_emulated::last_text;
}

/* --- for tests -------------------------------------------------------------------------------- */

extern "C" uint64_t sg_emulation_seed() { return sg_emulated::seed; }

extern "C" void sg_emulation_set_seed(uint64_t seed) { sg_emulated::seed = seed; }

extern "C" void sg_emulation_garbage(void *block, size_t bytes) {
    memset(block, sg_emulated::seed % 2 ? 0xff : 0x33, bytes);
#ifdef SG_EMULATED_MSAN
    __msan_allocated_memory(block, bytes);
#endif
}

extern "C" bool sg_emulation_has_run(const char *kernel) {
    std::lock_guard<std::mutex> lock(sg_emulated::gpu.one);

    return sg_emulated::launched.has(kernel);
}
