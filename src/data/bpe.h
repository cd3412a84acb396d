/* Byte-pair encoding: subwords learned from texts (Sennrich, Haddow, Birch 2016, arXiv:1508.07909).
 *
 * A cleaned text (data/text_clean.h) is divided at its spaces; each token, with a space before it,
 * is a word, and begins as one entry a byte. Learning joins the pair of neighbouring entries that
 * occurs most often in all words, again and again; each join is a new entry. Encoding joins, within
 * a word, always the pair that was learned first. As every byte is an entry, nothing is unknown,
 * and the bytes of a text's ids, one behind the other, are the text with a space before it.
 *
 *   ids  0 .. 2     SG_BPE_CLS, SG_BPE_END, SG_BPE_MASK: never an answer, for whoever builds inputs
 *        3 .. 258   the bytes 0 .. 255
 *        259 ..     the joins, in the order in which they were learned
 *
 * A word of more than SG_BPE_MAX_WORD bytes is cut, between code points, into words of at most
 * that many. Learning depends on nothing but the words, how often each occurs, and the wanted size:
 * a pair is counted at each place, also where two places overlap (`aaa` has two), and of pairs that
 * occur equally often the one with the smaller left id, then the smaller right id, comes first. A
 * pair that occurs once is not joined. */
#ifndef SG_DATA_BPE_H
#define SG_DATA_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_BPE_CLS = 0,  /* kept for the beginning of an input; nothing puts it there yet */
    SG_BPE_END = 1,  /* kept for its end, likewise */
    SG_BPE_MASK = 2, /* in place of an entry that is to be guessed */
    SG_BPE_BYTE = 3, /* + byte */
    SG_BPE_MIN_SIZE = SG_BPE_BYTE + 256,
    SG_BPE_MAX_SIZE = 65536,
    SG_BPE_MAX_WORD = 64, /* bytes, with the space */
};

/* What was learned. Does not change, and may be used by any number of threads. */
typedef struct sg_bpe sg_bpe;

/* --- learning --- */

typedef struct sg_bpe_learner sg_bpe_learner;

sg_status sg_bpe_learner_create(sg_bpe_learner **out) SG_CHECKED; /* SG_ERR_OOM */
void sg_bpe_learner_destroy(sg_bpe_learner *learner);

/* Counts the words of one more text; in what order texts come makes no difference. SG_ERR_OOM. */
sg_status sg_bpe_learner_add(sg_bpe_learner *learner, const char *text, size_t bytes) SG_CHECKED;

/* `size`: entries wanted, the special ones and the 256 bytes among them. `*out`, the caller's, has
 * fewer where the texts have no more pairs that occur twice. More texts may be added and learning
 * repeated. SG_ERR_ARG: size is not in SG_BPE_MIN_SIZE .. SG_BPE_MAX_SIZE; SG_ERR_UNSUPPORTED: the
 * different words are too many bytes; SG_ERR_OOM. */
sg_status sg_bpe_learn(const sg_bpe_learner *learner, int32_t size, sg_bpe **out) SG_CHECKED;

void sg_bpe_destroy(sg_bpe *bpe);

int32_t sg_bpe_size(const sg_bpe *bpe);

/* The bytes that entry `id` (0 .. size - 1) stands for; none for a special one. Lives as `bpe`. */
const char *sg_bpe_entry(const sg_bpe *bpe, int32_t id, size_t *bytes);

/* --- encoding --- */

/* Remembers words that it has seen (256 KB). One thread's; `bpe` must outlive it. */
typedef struct sg_bpe_encoder sg_bpe_encoder;

sg_status sg_bpe_encoder_create(const sg_bpe *bpe,
                                sg_bpe_encoder **out) SG_CHECKED; /* SG_ERR_OOM */
void sg_bpe_encoder_destroy(sg_bpe_encoder *encoder);

/* The first `cap` ids of a text into `ids` (cap), and how many those are: at most cap. Adds none of
 * the special ids. Any bytes will do as text; allocates nothing. */
int64_t sg_bpe_encode(sg_bpe_encoder *encoder, const char *text, size_t bytes, int32_t *ids,
                      int64_t cap);

/* --- as text: what a checkpoint holds --- */

/*   # spotgrad bpe 1
 *   cleaned 1                      SG_TEXT_CLEAN_VERSION of the texts
 *   joins 7933
 *   35 119 _t                      left id, right id, bytes of both: the entry 259
 *   259 107 _th                    ...
 *
 * In bytes a space is `_`, what is printable (UTF-8 too) stands for itself, `\` and `_` have a `\`
 * before them, all else is \xHH. `*text`, with a NUL behind its `*bytes`, is the caller's
 * (sg_free). SG_ERR_OOM. */
sg_status sg_bpe_write(const sg_bpe *bpe, char **text, size_t *bytes) SG_CHECKED;

/* Takes what sg_bpe_write wrote, byte for byte, and nothing else. `name` stands in messages, with
 * the line. SG_ERR_DATA: damaged, or of another SG_TEXT_CLEAN_VERSION; SG_ERR_OOM. */
sg_status sg_bpe_parse(const char *name, const char *text, size_t bytes, sg_bpe **out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
