/* For tests of what happens where memory runs out. */
#ifndef SG_TESTS_OUT_OF_MEMORY_H
#define SG_TESTS_OUT_OF_MEMORY_H

#include <stdbool.h>

#include "core/mem.h"

/* Makes `call`, of which comes a sg_status, again and again: its first allocation fails, then its
 * second and so on, until it succeeds. It is to say so whenever one fails, and to have given back
 * what it had by then. It makes at least `least` of them, else it would not show much. */
#define FAIL_EACH_ALLOCATION(call, least) FAIL_EACH_ALLOCATION_OF(call, least, true)

/* The same where threads allocate beside it: one of theirs may fail in place of its own. */
#define FAIL_EACH_ALLOCATION_BESIDE_THREADS(call, least) FAIL_EACH_ALLOCATION_OF(call, least, false)

#define FAIL_EACH_ALLOCATION_OF(call, least, alone)                                                \
    do {                                                                                           \
        long before_ = sg_mem_live(), n_ = 0, left_;                                               \
        sg_status st_;                                                                             \
                                                                                                   \
        do {                                                                                       \
            sg_mem_fail_at(++n_);                                                                  \
            st_ = (call);                                                                          \
            left_ = sg_mem_fail_at(0);                                                             \
            if (st_ != SG_OK && st_ != SG_ERR_OOM)                                                 \
                fail_msg("allocation %ld fails: %s", n_, sg_last_error());                         \
            if (st_ != SG_OK) assert_int_equal(sg_mem_live(), before_);                            \
        } while (st_ != SG_OK);                                                                    \
        if ((alone) && left_ == 0) fail_msg("allocation %ld fails, which nobody says", n_);        \
        if (n_ <= (least)) fail_msg("only %ld allocations", n_ - 1);                               \
    } while (0)

#endif
