/* All state that training changes, in a few flat buffers.
 *
 *   values   [ parameters with decay | parameters without | statistics ]          n_values floats
 *   grads    [       the gradients of the parameters      | batch stats | sums ]  n_grads floats
 *   ema      as values: an exponential moving average of them
 *   moment   as the parameters' part: one buffer (SGD) or two (AdamW)
 *
 * A table says which named view lies where; the same offset holds in every buffer. An optimizer
 * step is one pass, a gradient exchange a few large blocks, a snapshot a few copies, a hash one
 * pass. Every entry starts at a multiple of 16 floats; the padding between entries is always zero.
 *
 * The table grows while the first graph of a model is built; sg_table_freeze then fixes the
 * offsets. Later graphs of the same model (evaluation, another batch size) bind by name and must
 * agree in shape. */
#ifndef SG_GRAPH_STATE_H
#define SG_GRAPH_STATE_H

#include "core/status.h"
#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    SG_ENTRY_DECAY,    /* a parameter that weight decay applies to: matrices, filters */
    SG_ENTRY_NO_DECAY, /* a parameter exempt from it: biases, scales of norms */
    SG_ENTRY_STAT,     /* a statistic: set by the data, not by gradients (running mean, variance) */
    SG_ENTRY_KINDS
} sg_entry_kind;

/* How fresh values are drawn; always a function of (seed, name). */
typedef enum {
    SG_INIT_CONSTANT, /* `value` */
    SG_INIT_NORMAL,   /* mean 0, standard deviation `value` */
    SG_INIT_UNIFORM,  /* [-value, value) */
    SG_INIT_KAIMING   /* normal, deviation value * sqrt(2 / fan_in), fan_in = product of dims 1.. */
} sg_init_kind;

typedef struct {
    sg_init_kind kind;
    float value;
} sg_init;

typedef struct {
    char *name; /* "backbone.stem.conv.weight"; owned by the table */
    sg_entry_kind kind;
    sg_shape shape;
    sg_init init;
    int64_t offset; /* floats from the start of each buffer; valid once frozen */
    int64_t count;  /* floats */
} sg_entry;

enum { SG_MAX_SUMS = 16, SG_SUM_NORMALISER = 0, SG_SUM_LOSS = 1 };

typedef struct {
    sg_entry *entry; /* in order of creation; owned */
    int n_entries, capacity;
    bool frozen;
    /* the sizes below are floats, padding included, valid once frozen */
    int64_t n_decay;  /* parameters with decay */
    int64_t n_params; /* all parameters */
    int64_t n_values; /* parameters and statistics */
    int64_t n_grads;  /* n_values + SG_MAX_SUMS */
    /* Accumulators at grads[n_values ..]: "normaliser", "loss", then the model's own. Owned. */
    char *sum_name[SG_MAX_SUMS];
    int n_sums;
} sg_table;

sg_status sg_table_create(sg_table **out) SG_CHECKED;
void sg_table_destroy(sg_table *table);
/* Index of the entry of that name, or -1. */
int sg_table_find(const sg_table *table, const char *name);
/* Find an entry, or add it while the table is not frozen. SG_ERR_ARG: other kind or shape under the
 * same name; unknown name in a frozen table. */
sg_status sg_table_entry(sg_table *table, const char *name, sg_entry_kind kind,
                         const sg_shape *shape, sg_init init, int *index) SG_CHECKED;
/* The same for a named sum; *slot is its place after n_values. */
sg_status sg_table_sum(sg_table *table, const char *name, int *slot) SG_CHECKED;
void sg_table_freeze(sg_table *table);

typedef struct {
    const sg_table *table; /* borrowed, frozen */
    int n_moments;         /* 0, 1 or 2 */
    float *values;         /* n_values */
    float *ema;            /* n_values */
    float *moment[2];      /* n_params each */
    int64_t step;          /* finished optimizer steps */
    int64_t samples;       /* samples consumed: the whole state of the sampler */
    uint64_t seed;
    const struct sg_device *device; /* whose pinned memory the buffers are; NULL: sg_malloc's */
} sg_state;

/* Zeroed buffers. */
sg_status sg_state_create(const sg_table *table, int n_moments, sg_state **out) SG_CHECKED;
/* The same in host memory that `device` (NULL: none) copies to and from while it computes. */
sg_status sg_state_create_pinned(const sg_table *table, int n_moments,
                                 const struct sg_device *device, sg_state **out) SG_CHECKED;
void sg_state_destroy(sg_state *state);
/* Draw all entries anew from `seed`; ema = values, moments = 0, step = samples = 0. */
void sg_state_init(sg_state *state, uint64_t seed);
/* The same in two parts, on zeroed buffers, so that threads can share it: the values of entry i;
 * then, once all are drawn, the rest. */
void sg_state_draw(sg_state *state, int i, uint64_t seed);
void sg_state_begin(sg_state *state, uint64_t seed);

#ifdef __cplusplus
}
#endif
#endif
