/* What tests ask of the emulated GPU. C11 and C++17. */
#ifndef SG_TESTS_EMULATION_H
#define SG_TESTS_EMULATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether it is emulated: `make gpu-programs` builds the same tests for a real one
 * (tests/gpu/), where what only the emulation shows is skipped, and the rest below does nothing. */
bool sg_emulation_is_on(void);

/* What a GPU leaves open: the order in which the blocks of a launch, and the threads of a block,
 * are run, and what memory holds before it is written. It is the environment's SG_EMULATION_SEED, 1
 * where that is not set, until a test chooses another. */
uint64_t sg_emulation_seed(void);
void sg_emulation_set_seed(uint64_t seed);

/* Fill memory with what fresh memory is full of, device, pinned and shared: bytes 0xff where the
 * seed is odd, so that floats are NaNs and integers -1, else 0x33, small floats and large integers.
 * Whoever reads what was never written gets other results under seed + 1, and is told so by
 * MemorySanitizer. */
void sg_emulation_garbage(void *block, size_t bytes);

/* Whether a kernel of that name, without template arguments, has been launched in this process. */
bool sg_emulation_has_run(const char *kernel);

/* From now on, to be said before anything is asked of the device, its memory is out of the host's
 * reach, as a GPU's is: whoever touches it is stopped by a signal. For tests that put their values
 * there themselves. SG_EMULATION_GUARD=1 in the environment says the same. */
void sg_emulation_guard(void);

/* Then also ends the process where what the device is to read or write, by whom, is the host's.
 * Kernels and copies say so themselves. */
void sg_emulation_must_reach(const char *who, void *queue, const void *at);

/* Whether the device is lost, as SG_EMULATION_LOST of the environment has it. */
bool sg_emulation_is_lost(void);

/* For what is no kernel and yet runs on a stream: put work(arguments) on `queue`, which keeps a
 * copy of the `bytes` of its arguments. A stream that is being recorded keeps the work as well. */
void sg_emulation_put(void *queue, void (*work)(const void *arguments), const void *arguments,
                      size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
