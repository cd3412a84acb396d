#include "emulation/cuda_runtime_model.h"
#include "emulation/emulation.h"

#include <deque>
#include <malloc.h>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <vector>
#ifdef SG_EMULATED_MSAN
#include <sanitizer/msan_interface.h>
#endif

typedef std::vector<std::function<void()>> recording;

/* --- memory that the host cannot reach -------------------------------------------------------- */

/* With SG_EMULATION_GUARD=1 in the environment device memory lies in a range of addresses that only
 * a stream's work can read and write, so that a host that takes it for its own is stopped by a
 * signal; and what a stream's work is given must lie there. What is given back is not used again.
 */
class guarded_memory {
    static constexpr size_t kRange = (size_t)1 << 36, kPage = 4096;

    std::mutex lock;
    char *first = nullptr;
    size_t used = 0;
    int open = 0; /* pieces of work under way: one may run another stream's */
    std::map<void *, size_t> blocks;

    void protect(int how) {
        if (used > 0 && mprotect(first, used, how) != 0) abort();
    }

  public:
    static bool is_wanted() {
        static const char *text = getenv("SG_EMULATION_GUARD");

        return text && strcmp(text, "1") == 0;
    }

    void enter() {
        std::lock_guard<std::mutex> hold(lock);

        if (open++ == 0) protect(PROT_READ | PROT_WRITE);
    }

    void leave() {
        std::lock_guard<std::mutex> hold(lock);

        if (--open == 0) protect(PROT_NONE);
    }

    void *allocate(size_t bytes) {
        std::lock_guard<std::mutex> hold(lock);
        size_t whole = (bytes + kPage - 1) / kPage * kPage;
        void *block;

        if (!first) {
            block = mmap(nullptr, kRange, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                         -1, 0);
            if (block == MAP_FAILED) abort();
            first = static_cast<char *>(block);
        }
        if (whole > kRange - used) return nullptr;
        block = first + used;
        used += whole;
        if (open > 0) protect(PROT_READ | PROT_WRITE);
        blocks[block] = whole;
        return block;
    }

    bool holds(const void *at) {
        std::lock_guard<std::mutex> hold(lock);

        return first && at >= first && at < first + kRange;
    }

    /* Bytes that were taken for it. */
    size_t size(void *block) {
        std::lock_guard<std::mutex> hold(lock);

        return blocks.at(block);
    }

    void release(void *block) {
        std::lock_guard<std::mutex> hold(lock);

        (void)madvise(block, blocks.at(block), MADV_DONTNEED);
        blocks.erase(block);
    }
};

static guarded_memory guarded;

void sg_emulation_guard(void) { setenv("SG_EMULATION_GUARD", "1", 1); }

[[noreturn]] static void stop(const char *who, const char *why) {
    fprintf(stderr, "cuda emulation: %s: %s\n", who, why);
    abort();
}

/* Programs, their memory and libraries lie from here on; below are sanitizers' shadows, for whose
 * addresses two small integers side by side would be taken. */
static const uint64_t kHostFrom = (uint64_t)0x55 << 40;

void sg_emulated::must_reach(const char *who, cudaStream_t stream, uint64_t address) {
    void *page = (void *)(uintptr_t)(address & ~(uint64_t)4095);
    unsigned char there;

#ifdef SG_EMULATED_MSAN
    if (__msan_test_shadow(&address, sizeof address) >= 0) return; /* gaps of a struct */
#endif
    if (!stream || address < kHostFrom || !guarded_memory::is_wanted() ||
        guarded.holds((void *)(uintptr_t)address))
        return;
    if (mincore(page, 1, &there) == 0) stop(who, "is given an address of the host's memory");
}

void sg_emulation_must_reach(const char *who, void *queue, const void *at) {
    sg_emulated::must_reach(who, static_cast<cudaStream_t>(queue), (uint64_t)(uintptr_t)at);
}

/* While it lives the device computes. */
struct on_device {
    on_device() {
        if (guarded_memory::is_wanted()) guarded.enter();
    }
    ~on_device() {
        if (guarded_memory::is_wanted()) guarded.leave();
    }
    on_device(const on_device &) = delete;
    on_device &operator=(const on_device &) = delete;
};

/* --- streams' work ---------------------------------------------------------------------------- */

/* A stream's work, in order. Where the stream is lazy it waits here until somebody waits for it. */
struct line {
    unsigned number = 0; /* of the stream */
    std::deque<std::function<void()>> waiting;
    uint64_t put = 0, done = 0;

    void run_up_to(uint64_t count) {
        while (done < count && !waiting.empty()) {
            std::function<void()> work = std::move(waiting.front());
            on_device now;

            waiting.pop_front();
            work(); /* may run others' work, and reach what is before it here: that is done */
            done++;
        }
    }
};

struct CUstream_st {
    bool records;
    recording recorded;
    std::shared_ptr<line> work = std::make_shared<line>();
};
struct CUevent_st {
    std::shared_ptr<line> work; /* none before it is marked */
    uint64_t count = 0;
};
struct CUgraph_st {
    recording work;
};
struct CUgraphExec_st {
    recording work;
};

static std::set<cudaStream_t> streams;

static uint64_t host_waits;

/* SG_EMULATION_STREAMS: lazy, all streams always; random, some, and others from one wait of the
 * host to the next. */
static bool is_lazy(const line &work) {
    static const char *text = getenv("SG_EMULATION_STREAMS");
    uint64_t x;

    if (!text || strcmp(text, "random") != 0) return text && strcmp(text, "lazy") == 0;
    x = (sg_emulation_seed() + 1) * 0x9e3779b97f4a7c15u + host_waits * 0xbf58476d1ce4e5b9u +
        work.number * 0x94d049bb133111ebu;
    x ^= x >> 31;
    x *= 0xd6e8feb86659fd93u;
    return x >> 63;
}

void sg_emulated::put(cudaStream_t stream, std::function<void()> work) {
    if (!stream) {
        on_device now;

        work();
        return;
    }
    if (stream->records) {
        stream->recorded.push_back(work);
        return;
    }
    stream->work->waiting.push_back(work);
    stream->work->put++;
    if (!is_lazy(*stream->work)) stream->work->run_up_to(stream->work->put);
}

extern "C" void sg_emulation_put(void *queue, void (*work)(const void *arguments),
                                 const void *arguments, size_t bytes) {
    const char *first = static_cast<const char *>(arguments);
    std::vector<char> kept(first, first + bytes);

    sg_emulated::put(static_cast<cudaStream_t>(queue), [=] { work(kept.data()); });
}

bool sg_emulation_is_on(void) { return true; }

/* --- what tests ask of it through the environment --------------------------------------------- */

static long long asked(const char *name) {
    const char *text = getenv(name);

    return text ? atoll(text) : 0;
}

/* The device is lost at the SG_EMULATION_LOST-th wait of the host for a stream of ours or an event,
 * and stays so: whatever is asked of it then, its error is the answer. */
bool sg_emulation_is_lost(void) {
    long long lost = asked("SG_EMULATION_LOST");

    return lost && (long long)host_waits >= lost;
}

static cudaError_t answer() {
    return sg_emulation_is_lost() ? cudaErrorECCUncorrectable : cudaSuccess;
}

static cudaError_t wait() {
    host_waits++;
    return answer();
}

/* Bytes of the device's memory: SG_EMULATION_MEMORY, or more than there are. */
static size_t memory_total() {
    long long bytes = asked("SG_EMULATION_MEMORY");

    return bytes ? (size_t)bytes : (size_t)1 << 40;
}

static size_t memory_used;

/* --- memory ----------------------------------------------------------------------------------- */

static cudaError_t allocate(void **block, size_t bytes, bool guard) {
    on_device now;

    *block = guard ? guarded.allocate(bytes) : malloc(bytes);
    if (!*block) return cudaErrorMemoryAllocation;
    sg_emulation_garbage(*block, bytes);
    return cudaSuccess;
}

static size_t size_of(void *block) {
    return guarded_memory::is_wanted() ? guarded.size(block) : malloc_usable_size(block);
}

cudaError_t cudaMalloc(void **block, size_t bytes) {
    cudaError_t error = answer();

    if (error != cudaSuccess) return error;
    if (bytes > memory_total() - memory_used) return cudaErrorMemoryAllocation;
    error = allocate(block, bytes, guarded_memory::is_wanted());
    if (error == cudaSuccess) memory_used += size_of(*block);
    return error;
}

cudaError_t cudaMallocHost(void **block, size_t bytes) {
    cudaError_t error = answer();

    return error == cudaSuccess ? allocate(block, bytes, false) : error;
}

/* As on a GPU, it waits for all that is under way. */
cudaError_t cudaFree(void *block) {
    for (cudaStream_t stream : streams) stream->work->run_up_to(stream->work->put);
    if (!block) return cudaSuccess;
    memory_used -= size_of(block);
    if (guarded_memory::is_wanted())
        guarded.release(block);
    else
        free(block);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *block) {
    for (cudaStream_t stream : streams) stream->work->run_up_to(stream->work->put);
    free(block);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *total = memory_total();
    *free_bytes = *total > memory_used ? *total - memory_used : 0;
    return answer();
}

cudaError_t cudaMemset(void *to, int byte, size_t bytes) {
    on_device now;

    memset(to, byte, bytes);
    return answer();
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream) {
    sg_emulation_must_reach("cudaMemsetAsync", stream, to);
    sg_emulated::put(stream, [=] { memset(to, byte, bytes); });
    return answer();
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;

    if (stream && guarded_memory::is_wanted() && bytes > 0 &&
        (guarded.holds(to) != to_device || guarded.holds(from) != from_device))
        stop("cudaMemcpyAsync", "memory is not on the side that is said");
    sg_emulated::put(stream, [=] { memcpy(to, from, bytes); });
    return answer();
}

/* --- streams and events ----------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    static unsigned created;

    *stream = new CUstream_st();
    (*stream)->work->number = created++;
    streams.insert(*stream);
    return answer();
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    stream->work->run_up_to(stream->work->put);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

/* As on a GPU, it may not be waited for while it is recorded. */
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (!stream) return cudaSuccess; /* the default stream's work is done at once */
    if (stream->records) return cudaErrorIllegalState;
    stream->work->run_up_to(stream->work->put);
    return wait();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    *event = new CUevent_st();
    return answer();
}

/* A recording would keep this mark for ever: no code of ours means that. */
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    if (stream->records) return cudaErrorIllegalState;
    event->work = stream->work;
    event->count = stream->work->put;
    return answer();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    std::shared_ptr<line> work = event->work;
    uint64_t count = event->count;

    if (stream->records) return cudaErrorIllegalState;
    if (work) sg_emulated::put(stream, [=] { work->run_up_to(count); });
    return answer();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (event->work) event->work->run_up_to(event->count);
    return wait();
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}

/* --- graphs ----------------------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (!stream || stream->records) return cudaErrorIllegalState;
    stream->records = true;
    stream->recorded.clear();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    if (!stream || !stream->records) return cudaErrorIllegalState;
    stream->records = false;
    *graph = new CUgraph_st{std::move(stream->recorded)};
    stream->recorded.clear();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    *exec = new CUgraphExec_st{graph->work};
    return answer();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    for (const auto &work : exec->work) sg_emulated::put(stream, work);
    return answer();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}

/* --- the device ------------------------------------------------------------------------------- */

cudaError_t cudaSetDevice(int) { return cudaSuccess; }

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int) {
    *value = 0;
    return cudaSuccess;
}
