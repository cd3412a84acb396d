/* All state that training changes, in a few flat buffers.
 *
 *   values   [ parameters with decay | parameters without | statistics ]          n_values floats
 *   grads    [       the gradients of the parameters      | batch stats | sums ]  n_grads floats
 *   ema      as values: an exponential moving average of them
 *   moment   as the parameters' part: one buffer (SGD) or two (AdamW)
 *   rows     [ tables of rows ]                                                    n_rows floats
 *   rows_sum as rows, or a float a row, or absent: Adagrad's sums of squares (sg_rows_rule)
 *
 * A table says which named view lies where; the same offset holds in every buffer. An optimizer
 * step is one pass, a gradient exchange a few large blocks, a snapshot a few copies, a hash one
 * pass. Every entry starts at a multiple of 16 floats; the padding between entries is always zero.
 *
 * A table of rows (SG_ENTRY_ROWS) is a large table of embeddings of which a step touches few rows,
 * and updates those alone: no weight decay, no average, no moments, no place in the gradients. It
 * is used as it is, by training and inference.
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
    SG_ENTRY_ROWS,     /* a table (R, d) whose rows are updated when they are used */
    SG_ENTRY_KINDS
} sg_entry_kind;

/* How rows are updated, and what that keeps of each: nothing, a sum of squares an element, or one a
 * row. ops/rows.c has the formulas. */
typedef enum { SG_ROWS_SGD, SG_ROWS_ADAGRAD, SG_ROWS_ADAGRAD_ROW } sg_rows_rule;

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
    int64_t offset;     /* floats from the start of each buffer; valid once frozen */
    int64_t count;      /* floats */
    int64_t row_offset; /* ROWS: floats from the start of rows_sum, where a row has one */
    int rows_index;     /* ROWS: which of the tables of rows, in order of creation */
} sg_entry;

enum { SG_MAX_ROWS = 8 }; /* tables of rows */
enum { SG_MAX_SUMS = 16, SG_SUM_NORMALISER = 0, SG_SUM_LOSS = 1 };

typedef struct {
    sg_entry *entry; /* in order of creation; owned */
    int n_entries, capacity;
    bool frozen;
    /* the sizes below are floats, padding included, valid once frozen */
    int64_t n_decay;    /* parameters with decay */
    int64_t n_params;   /* all parameters */
    int64_t n_values;   /* parameters and statistics */
    int64_t n_grads;    /* n_values + SG_MAX_SUMS */
    int64_t n_rows;     /* tables of rows */
    int64_t n_row_sums; /* a float for each of their rows */
    int n_row_tables;   /* valid at any time */
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
/* Floats of rows_sum under a rule. */
int64_t sg_table_rows_sum(const sg_table *table, sg_rows_rule rule);
/* Where the sums of a table of rows begin there, in floats, and their shape: the table's, or (R).
 * Not for SGD. */
int64_t sg_entry_sum_offset(const sg_entry *entry, sg_rows_rule rule);
sg_shape sg_entry_sum_shape(const sg_entry *entry, sg_rows_rule rule);

typedef struct {
    const sg_table *table; /* borrowed, frozen */
    int n_moments;         /* 0, 1 or 2 */
    float *values;         /* n_values */
    float *ema;            /* n_values */
    float *moment[2];      /* n_params each */
    sg_rows_rule rule;     /* SG_ROWS_SGD also where nothing is to be trained */
    float *rows;           /* n_rows; NULL where there are none, as is */
    float *rows_sum;       /* sg_table_rows_sum(table, rule) */
    float sum_start;       /* what they begin at */
    int64_t step;          /* finished optimizer steps */
    int64_t samples;       /* samples consumed: the whole state of the sampler */
    uint64_t seed;
    const struct sg_device *device; /* whose pinned memory the buffers are; NULL: sg_malloc's */
} sg_state;

typedef struct {
    int n_moments;
    sg_rows_rule rule;
    float sum_start;                /* what Adagrad's sums of rows begin at */
    const struct sg_device *device; /* the buffers are in host memory that it copies to and from
                                       while it computes; NULL: none */
} sg_state_options;

/* Zeroed buffers. */
sg_status sg_state_create_with(const sg_table *table, const sg_state_options *options,
                               sg_state **out) SG_CHECKED;
/* The same in ordinary memory, without sums of rows: enough for inference. */
sg_status sg_state_create(const sg_table *table, int n_moments, sg_state **out) SG_CHECKED;
void sg_state_destroy(sg_state *state);
/* Draw all entries anew from `seed`; ema = values, moments = 0, sums of rows as sum_start says,
 * step = samples = 0. */
void sg_state_init(sg_state *state, uint64_t seed);
/* The same in two parts, on zeroed buffers, so that threads can share it: piece i of the
 * sg_state_pieces(table) into which all values are divided; then, once all are drawn, the rest. */
int64_t sg_state_pieces(const sg_table *table);
void sg_state_draw(sg_state *state, int64_t piece, uint64_t seed);
void sg_state_begin(sg_state *state, uint64_t seed);
/* Only the sums of rows. */
void sg_state_begin_sums(sg_state *state);

#ifdef __cplusplus
}
#endif
#endif
