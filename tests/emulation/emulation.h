/* What tests ask of the emulated GPU. C11 and C++17. */
#ifndef SG_TESTS_EMULATION_H
#define SG_TESTS_EMULATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether it is emulated: `make gpu-check-programs` builds the same tests for a real one
 * (tests/gpu/), where what only the emulation shows is skipped, and the rest below does nothing. */
bool sg_emulation_is_on(void);

/* The order in which the blocks of a launch, and the threads of a block, are run. It is the
 * environment's SG_EMULATION_SEED, 1 where that is not set, until a test chooses another. */
uint64_t sg_emulation_seed(void);
void sg_emulation_set_seed(uint64_t seed);

/* Whether a kernel of that name, without template arguments, has been launched in this process. */
bool sg_emulation_has_run(const char *kernel);

/* For what is no kernel and yet runs on a stream: put work(arguments) on `queue`, which keeps a
 * copy of the `bytes` of its arguments. A stream that is being recorded keeps the work as well. */
void sg_emulation_put(void *queue, void (*work)(const void *arguments), const void *arguments,
                      size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
