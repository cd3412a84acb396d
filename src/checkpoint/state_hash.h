/* The hash by which two states are told to be the same to the last bit. */
#ifndef SG_CHECKPOINT_STATE_HASH_H
#define SG_CHECKPOINT_STATE_HASH_H

#include "core/status.h"
#include "graph/state.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_STATE_HASH_BYTES = 65 };

/* SHA-256 in lower-case hex. Over every view of the state (state_views.h) and the samples counter,
 * named /progress/samples, in the order of the bytes of their paths: the path, a NUL, the count of
 * numbers as a 64-bit integer, the numbers (32-bit floats, a 64-bit integer); all little-endian.
 * tests/integration/model_file.py computes the same from a file. SG_ERR_OOM. */
sg_status sg_state_sha256(const sg_state *state, char hex[SG_STATE_HASH_BYTES]) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
