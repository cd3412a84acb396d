/* The bytes of a model file (model_file.h), laid out once and then only filled: shapes never change
 * in a run, so neither do the offsets of its data sets. A checkpoint is a copy into the image
 * (take), its checksums (seal) and one write. */
#ifndef SG_CHECKPOINT_MODEL_IMAGE_H
#define SG_CHECKPOINT_MODEL_IMAGE_H

#include <stdbool.h>

#include "checkpoint/model_file.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the bytes are aligned to, and how far behind them zeros may be read. */
enum { SG_MODEL_PAGE = 4096 };

typedef struct sg_model_image sg_model_image;

/* Texts that grow while a run goes on; NULL is "". */
typedef struct {
    const char *history, *plans;
} sg_model_growing;

/* Bytes for them. */
typedef struct {
    size_t history, plans;
} sg_model_room;

/* The layout for `state`, which is borrowed and outlives the image, with all that `about` says but
 * the epoch and what grows; for that there is room. `path` is for messages. SG_ERR_OOM. */
sg_status sg_model_image_create(const char *path, const sg_model_about *about,
                                const sg_state *state, sg_model_room room,
                                sg_model_image **out) SG_CHECKED;
void sg_model_image_destroy(sg_model_image *image); /* NULL is fine */
/* Whether there is room for these texts. */
bool sg_model_image_fits(const sg_model_image *image, const sg_model_growing *texts);

/* Copy the state as it is now, with texts that fit: all that a training step has to wait for. */
void sg_model_image_take(sg_model_image *image, int64_t epoch, const sg_model_growing *texts);
/* The checksums of what was taken, and the mark: now the bytes are a whole model file. */
void sg_model_image_seal(sg_model_image *image);
const void *sg_model_image_bytes(const sg_model_image *image, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
