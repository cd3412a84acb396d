/* Batches of encoded texts for training, each in the smallest shape that holds its longest text.
 *
 * The order is a function, not a state: position p of the run -> sample sg_sampler_at(seed, n, p),
 * as for pictures. Where shapes matter (`by_length`) a window of positions, 64 batches or what is
 * half of the data set, is sorted by length and cut into batches, whose order is a permutation
 * keyed by (seed, window): texts of a batch are then about as long as each other, and each epoch's
 * batches differ. Batches run through the borders of epochs; the only state is samples consumed. */
#ifndef SG_DATA_TEXT_LOADER_H
#define SG_DATA_TEXT_LOADER_H

#include "data/encoded_set.h"
#include "data/masking.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_TEXT_SHAPES = 6 };

/* Room for texts, the shortest first. */
typedef struct {
    int n;
    int64_t features[SG_TEXT_SHAPES]; /* F: n-grams */
    int64_t length[SG_TEXT_SHAPES];   /* T: subwords */
    int64_t guesses[SG_TEXT_SHAPES];  /* P: of them, those that are to be guessed */
} sg_text_shapes;

/* Shapes up to the most n-grams and subwords of a text; 0: there are none. No guesses. */
sg_text_shapes sg_text_shapes_up_to(int64_t features, int64_t length);
/* Shapes of subwords alone, of which some are to be guessed. */
sg_text_shapes sg_text_shapes_masked(const sg_masking *masking, int64_t length);
/* The first that holds a text; more than the largest holds is cut. */
int sg_text_shape_for(const sg_text_shapes *shapes, int64_t ngrams, int64_t subwords);

/* Rows of one batch in a shape: what nn/text_classifier.h and nn/masked_tokens.h take. All owned by
 * whoever has them. */
typedef struct {
    int32_t *ngrams; /* (B, F), -1 behind a text's n-grams */
    float *weights;  /* (B, F) */
    int32_t *ids;    /* (B, T), -1 behind a text's subwords */
    int32_t *length; /* (B) */
    int32_t *place;  /* (B, P) row of a shard's tokens, -1 behind a text's guesses */
    int32_t *guess;  /* (B, P) what stood there, likewise */
    float *guesses;  /* (B) how many */
} sg_text_rows;

/* Room for `batch` texts in the largest shape. SG_ERR_OOM. */
sg_status sg_text_rows_init(const sg_text_shapes *shapes, int64_t batch,
                            sg_text_rows *rows) SG_CHECKED;
void sg_text_rows_clear(sg_text_rows *rows);
/* Put a text into row i of a batch of that shape. */
void sg_text_rows_put(const sg_text_rows *rows, const sg_text_shapes *shapes, int shape, int64_t i,
                      const sg_encoded *text);
/* Have some of the subwords of row i guessed, which is row `of_shard` of its shard. */
void sg_text_rows_mask(const sg_text_rows *rows, const sg_text_shapes *shapes, int shape, int64_t i,
                       int64_t of_shard, const sg_masking *masking, uint64_t key);

typedef struct {
    int64_t batch;  /* B, texts a batch */
    int64_t start;  /* samples consumed before */
    uint64_t seed;  /* of the order */
    bool by_length; /* sort windows: where longer shapes cost time */
    sg_text_shapes shapes;
    const sg_masking *masking; /* then there are guesses and no classes; NULL: none. Borrowed */
    int64_t shard;             /* with guesses: texts of a shard */
    int64_t classes;           /* of all tasks */
    /* (n, 3) for each text: its label in the numbering of all tasks, its task's first class, how
     * many classes that has; borrowed. A label of -1: none. */
    const int32_t (*label)[3];
    const float *class_weight; /* (classes), borrowed */
    float smoothing;           /* share of a label that is spread over its task's classes */
} sg_text_loader_options;

typedef struct {
    int shape;
    int64_t first;   /* position of row 0: samples consumed before this batch */
    int64_t *sample; /* (B) which texts */
    sg_text_rows rows;
    float *target; /* (B, classes), for sg_soft_cross_entropy */
} sg_text_batch;

typedef struct sg_text_loader sg_text_loader;

/* `set` is borrowed, as is what the options point to. SG_ERR_OOM. */
sg_status sg_text_loader_create(const sg_encoded_set *set, const sg_text_loader_options *options,
                                sg_text_loader **out) SG_CHECKED;
void sg_text_loader_destroy(sg_text_loader *loader); /* NULL is fine */
/* Go on as a loader would that was created with that start. Costs nothing. */
void sg_text_loader_restart(sg_text_loader *loader, int64_t start);
/* The next batch, borrowed until the next call. */
const sg_text_batch *sg_text_loader_next(sg_text_loader *loader);

#ifdef __cplusplus
}
#endif
#endif
