/* The views of a state under the names that they have in files and in its hash:
 *
 * - /parameters/NAME, /statistics/NAME, /ema/NAME
 * - /optimizer/moment1/NAME, /optimizer/moment2/NAME
 * - of a table of rows /parameters/NAME and, under Adagrad, /optimizer/sum/NAME alone
 *
 * NAME is the entry's, dots kept: h5py's `dict(f["parameters"])` is what PyTorch calls a state
 * dict. */
#ifndef SG_CHECKPOINT_STATE_VIEWS_H
#define SG_CHECKPOINT_STATE_VIEWS_H

#include "core/status.h"
#include "graph/state.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char *path;     /* "/parameters/stem.conv.weight"; owned by the array */
    sg_shape shape; /* the entry's, but for sums that a row has one of */
    float *data;    /* of that shape, the state's */
} sg_state_view;

/* All of them, sorted by the bytes of their paths. *views is the caller's. SG_ERR_OOM. */
sg_status sg_state_views_create(const sg_state *state, sg_state_view **views, int *n) SG_CHECKED;
void sg_state_views_destroy(sg_state_view *views, int n); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
