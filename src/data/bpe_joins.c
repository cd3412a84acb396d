/* Learning which pairs are joined, from counted words.
 *
 * All different words lie one behind the other, a place a byte, each linked to its neighbours in
 * the word. For each pair of ids there is its count and the list of places where it begins. A join
 * visits only the places of its pair: it takes them from the counts of what was beside them, and
 * begins pairs with the new id in their stead. Hence a pair's list grows only while the younger of
 * its ids is being joined, in ascending order of places, and from then on its count only falls: so
 * the heap may hold old counts, which are put right when they come to its top. A place in a list
 * that has changed since is passed over. */
#include <string.h>

#include "core/mem.h"
#include "data/bpe_inside.h"

enum { kNone = -1, kFirstPairs = 1 << 10 };

typedef struct {
    int32_t id;         /* kNone: joined to the place before */
    int32_t prev, next; /* in the word; kNone: there is none */
    int32_t word;
} place;

typedef struct {
    int32_t left, right;
    int64_t count;
    int32_t first, last; /* nodes */
} pair;

typedef struct {
    int32_t place, next;
} node;

typedef struct {
    int64_t count; /* of the pair when it was put there: never less than now */
    int32_t pair;
} heap_item;

typedef struct {
    const sg_bpe_learner *from;
    place *places; /* (n_places) */
    size_t n_places;
    node *nodes; /* (3 n_places): each join takes a place away and begins two pairs at most */
    int32_t n_nodes;
    pair *pairs;     /* (capacity) */
    heap_item *heap; /* (capacity): a pair is in it once at most */
    int32_t n_pairs, n_heap, capacity;
    int32_t *slots; /* (4 capacity): indices of pairs, or kNone */
} learning;

static sg_status no_memory(const learning *l) {
    return sg_fail(SG_ERR_OOM, "no memory to learn a tokenizer from %d words with %d pairs",
                   (int)l->from->n_words, (int)l->n_pairs);
}

/* --- pairs by their ids --- */

static int32_t *slot_of(const learning *l, int32_t left, int32_t right) {
    const uint64_t kGolden = 11400714819323198485U; /* 2^64 / golden ratio */
    size_t mask = 4 * (size_t)l->capacity - 1;
    uint64_t hash = ((uint64_t)left << 16 | (uint64_t)right) * kGolden;
    size_t i = (size_t)(hash >> 32) & mask;

    for (; l->slots[i] != kNone; i = (i + 1) & mask) {
        const pair *p = &l->pairs[l->slots[i]];

        if (p->left == left && p->right == right) break;
    }
    return &l->slots[i];
}

/* Twice as many pairs: all blocks are there before one changes. */
static sg_status grow(learning *l) {
    int32_t capacity = l->capacity ? 2 * l->capacity : kFirstPairs;
    size_t old = (size_t)l->capacity, wanted = (size_t)capacity;
    pair *pairs = sg_malloc(wanted * sizeof *pairs);
    heap_item *heap = sg_malloc(wanted * sizeof *heap);
    int32_t *slots = sg_malloc(4 * wanted * sizeof *slots);

    if (!pairs || !heap || !slots) {
        sg_free(pairs);
        sg_free(heap);
        sg_free(slots);
        return no_memory(l);
    }
    if (old) {
        memcpy(pairs, l->pairs, old * sizeof *pairs);
        memcpy(heap, l->heap, old * sizeof *heap);
    }
    sg_free(l->pairs);
    sg_free(l->heap);
    sg_free(l->slots);
    l->pairs = pairs;
    l->heap = heap;
    l->slots = slots;
    l->capacity = capacity;
    for (size_t i = 0; i < 4 * wanted; i++) slots[i] = kNone;
    for (int32_t i = 0; i < l->n_pairs; i++) *slot_of(l, pairs[i].left, pairs[i].right) = i;
    return SG_OK;
}

/* The pair at `at` and the place behind it occurs there, `count` times. */
static sg_status begin_pair(learning *l, int32_t at, int64_t count) {
    int32_t left = l->places[at].id, right = l->places[l->places[at].next].id, *slot;
    pair *p;

    if (l->n_pairs == l->capacity) SG_TRY(grow(l));
    slot = slot_of(l, left, right);
    if (*slot == kNone) {
        *slot = l->n_pairs;
        l->pairs[l->n_pairs++] = (pair){left, right, 0, kNone, kNone};
    }
    p = &l->pairs[*slot];
    p->count += count;
    l->nodes[l->n_nodes] = (node){at, kNone};
    if (p->first == kNone)
        p->first = l->n_nodes;
    else
        l->nodes[p->last].next = l->n_nodes;
    p->last = l->n_nodes++;
    return SG_OK;
}

/* The pair at `at` and the place behind it is there no more. */
static void end_pair(learning *l, int32_t at, int64_t count) {
    int32_t left = l->places[at].id, right = l->places[l->places[at].next].id;

    l->pairs[*slot_of(l, left, right)].count -= count;
}

/* --- the heap: the pair to be joined next is on top --- */

/* Whether a comes before b. */
static bool precedes(const learning *l, heap_item a, heap_item b) {
    const pair *p = &l->pairs[a.pair], *q = &l->pairs[b.pair];

    if (a.count != b.count) return a.count > b.count;
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static void push(learning *l, int32_t index) {
    heap_item item = {l->pairs[index].count, index};
    int32_t i = l->n_heap++;

    for (; i > 0 && precedes(l, item, l->heap[(i - 1) / 2]); i = (i - 1) / 2)
        l->heap[i] = l->heap[(i - 1) / 2];
    l->heap[i] = item;
}

static int32_t pop(learning *l, int64_t *count) {
    heap_item top = l->heap[0], item = l->heap[--l->n_heap];
    int32_t i = 0, child;

    for (; (child = 2 * i + 1) < l->n_heap; i = child) {
        if (child + 1 < l->n_heap && precedes(l, l->heap[child + 1], l->heap[child])) child++;
        if (!precedes(l, l->heap[child], item)) break;
        l->heap[i] = l->heap[child];
    }
    l->heap[i] = item;
    *count = top.count;
    return top.pair;
}

/* The pair that occurs most often; kNone when none occurs twice. */
static int32_t next_pair(learning *l) {
    while (l->n_heap > 0) {
        int64_t then;
        int32_t index = pop(l, &then);
        int64_t now = l->pairs[index].count;

        if (now < 2) continue;
        if (now == then) return index;
        push(l, index);
    }
    return kNone;
}

/* --- learning --- */

static sg_status begin(learning *l) {
    const sg_bpe_learner *from = l->from;
    size_t n = from->n_bytes;

    if (n > INT32_MAX / 3)
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "different words of %zu bytes; a tokenizer is learned "
                       "from %d at most: give it a part of the texts",
                       n, INT32_MAX / 3);
    SG_TRY(grow(l));
    l->n_places = n;
    l->places = sg_malloc(n * sizeof *l->places);
    l->nodes = sg_malloc(3 * n * sizeof *l->nodes);
    if (!l->places || !l->nodes) return no_memory(l);
    for (int32_t w = 0; w < from->n_words; w++) {
        int32_t start = (int32_t)from->words[w].start, length = from->words[w].length;

        for (int32_t i = start; i < start + length; i++)
            l->places[i] =
                (place){SG_BPE_BYTE + (unsigned char)from->bytes[i], i > start ? i - 1 : kNone,
                        i + 1 < start + length ? i + 1 : kNone, w};
        for (int32_t i = start; i + 1 < start + length; i++)
            SG_TRY(begin_pair(l, i, from->words[w].count));
    }
    for (int32_t i = 0; i < l->n_pairs; i++) push(l, i);
    return SG_OK;
}

/* The place `at` and the one behind it become `id`. */
static sg_status join_at(learning *l, int32_t at, int32_t id) {
    place *p = l->places;
    int32_t gone = p[at].next, before = p[at].prev, behind = p[gone].next;
    int64_t count = l->from->words[p[at].word].count;

    if (before != kNone) end_pair(l, before, count);
    if (behind != kNone) end_pair(l, gone, count);
    p[at].id = id;
    p[at].next = behind;
    p[gone].id = kNone;
    if (behind != kNone) p[behind].prev = at;
    if (before != kNone) SG_TRY(begin_pair(l, before, count));
    return behind != kNone ? begin_pair(l, at, count) : SG_OK;
}

static sg_status join_all(learning *l, int32_t index, int32_t id) {
    int32_t known = l->n_pairs, left = l->pairs[index].left, right = l->pairs[index].right;

    for (int32_t n = l->pairs[index].first; n != kNone; n = l->nodes[n].next) {
        int32_t at = l->nodes[n].place, next = l->places[at].next;

        if (l->places[at].id != left || next == kNone || l->places[next].id != right) continue;
        SG_TRY(join_at(l, at, id));
    }
    l->pairs[index].count = 0;
    for (int32_t i = known; i < l->n_pairs; i++) push(l, i);
    return SG_OK;
}

static sg_status learn(learning *l, sg_bpe_join *joins, int32_t most, int32_t *n) {
    SG_TRY(begin(l));
    for (*n = 0; *n < most; (*n)++) {
        int32_t index = next_pair(l);

        if (index == kNone) break;
        joins[*n] = (sg_bpe_join){l->pairs[index].left, l->pairs[index].right};
        SG_TRY(join_all(l, index, SG_BPE_MIN_SIZE + *n));
    }
    return SG_OK;
}

sg_status sg_bpe_learn(const sg_bpe_learner *learner, int32_t size, sg_bpe **out) {
    learning l = {.from = learner};
    int32_t n = 0, most = size - SG_BPE_MIN_SIZE;
    sg_bpe_join *joins;
    sg_status st;

    if (size < SG_BPE_MIN_SIZE || size > SG_BPE_MAX_SIZE)
        return sg_fail(SG_ERR_ARG, "a tokenizer of %d entries; it must be %d .. %d", (int)size,
                       SG_BPE_MIN_SIZE, SG_BPE_MAX_SIZE);
    joins = sg_malloc((size_t)most * sizeof *joins);
    if (!joins) return no_memory(&l);
    st = learn(&l, joins, most, &n);
    sg_free(l.places);
    sg_free(l.nodes);
    sg_free(l.pairs);
    sg_free(l.heap);
    sg_free(l.slots);
    if (st != SG_OK) {
        sg_free(joins);
        return st;
    }
    return sg_bpe_build(joins, n, out);
}
