/* Planning memory: which slots share it, and where each lies.
 *
 * 1. A slot lives from the step that writes it to the last that reads it.
 * 2. An output takes over the memory of an input that dies there, where the kernel allows it.
 * 3. Slots are placed largest first, each at the lowest offset where it meets no slot that lives at
 *    the same time. (First-fit by decreasing size; what TFLite calls "greedy by size".)
 * What the prologue makes lives for ever, so WEIGHTS is a plain sum. */
#include <stdlib.h>

#include "core/mem.h"
#include "graph/plan.h"

static bool same_place(sg_place a, sg_place b) {
    return a.buffer == b.buffer && a.offset == b.offset;
}

static bool planned(const sg_slot *slot) { return slot->place.buffer == SG_BUF_ARENA; }

static void find_lifetimes(sg_program *p) {
    for (int s = 0; s < p->n_steps; s++) {
        const sg_step *step = &p->step[s];

        for (int i = 0; i < step->n_in; i++)
            if (step->in[i] >= 0 && p->slot[step->in[i]].death < s) p->slot[step->in[i]].death = s;
        for (int o = 0; o < step->n_out; o++) p->slot[step->out[o]].birth = s;
        for (int o = 0; o < step->n_out; o++)
            if (p->slot[step->out[o]].death < s) p->slot[step->out[o]].death = s;
    }
}

static int root_of(const sg_program *p, int slot) {
    while (p->slot[slot].root != slot) slot = p->slot[slot].root;
    return slot;
}

/* Whether the step's output o may take over the memory of input i, slot `in`. */
static bool may_take_over(const sg_program *p, int s, int o, int i, int in) {
    const sg_step *step = &p->step[s];
    const sg_slot *from = &p->slot[in], *to = &p->slot[step->out[o]];

    if (!planned(from) || !planned(to) || from->bytes != to->bytes || from->death != s)
        return false;
    for (int k = 0; k < step->n_in; k++)
        if (k != i && step->in[k] >= 0 && root_of(p, step->in[k]) == in) return false;
    for (int k = 0; k < o; k++)
        if (root_of(p, step->out[k]) == in) return false;
    return true;
}

static void merge_in_place(sg_program *p) {
    for (int s = 0; s < p->n_steps; s++) {
        const sg_step *step = &p->step[s];

        for (int o = 0; o < step->n_out; o++) {
            int i = step->kernel.inplace[o];
            int in = i >= 0 && step->in[i] >= 0 ? root_of(p, step->in[i]) : -1;

            if (in < 0 || !may_take_over(p, s, o, i, in)) continue;
            p->slot[step->out[o]].root = in;
            p->slot[in].death = p->slot[step->out[o]].death;
        }
    }
}

/* --- bound buffers ---------------------------------------------------------------------------- */

/* Whether the two lie in one buffer of the state and share a byte. */
static bool meet(const sg_slot *a, const sg_slot *b) {
    return a->place.buffer == b->place.buffer && a->place.buffer >= SG_BUF_VALUES &&
           a->place.offset < b->place.offset + (int64_t)b->bytes &&
           b->place.offset < a->place.offset + (int64_t)a->bytes;
}

/* An output may be bound to where an input lives (parameters in an update program): the kernel
 * must work in place there. */
static sg_status check_own_inputs(const sg_program *p, const sg_step *step) {
    for (int o = 0; o < step->n_out; o++) {
        const sg_slot *out = &p->slot[step->out[o]];

        for (int i = 0; i < step->n_in; i++) {
            const sg_slot *in = step->in[i] >= 0 ? &p->slot[step->in[i]] : NULL;

            if (!in || !meet(out, in)) continue;
            if (step->kernel.inplace[o] != i || !same_place(out->place, in->place))
                return sg_fail(SG_ERR_UNSUPPORTED, "%s: cannot write over its input %d",
                               step->node->name, i);
        }
    }
    return SG_OK;
}

/* `slot`, which step s touches, has not been overwritten by another value before. */
static sg_status check_not_overwritten(const sg_program *p, int s, int slot) {
    if (slot < 0 || p->slot[slot].place.buffer < SG_BUF_VALUES) return SG_OK;
    for (int t = 0; t < s; t++) {
        const sg_step *before = &p->step[t];

        for (int o = 0; o < before->n_out; o++) {
            if (before->out[o] == slot || !meet(&p->slot[before->out[o]], &p->slot[slot])) continue;
            return sg_fail(SG_ERR_UNSUPPORTED, "%s: comes after %s has written there",
                           p->step[s].node->name, before->node->name);
        }
    }
    return SG_OK;
}

static sg_status check_bound(const sg_program *p) {
    for (int s = 0; s < p->n_steps; s++) {
        const sg_step *step = &p->step[s];

        SG_TRY(check_own_inputs(p, step));
        for (int i = 0; i < step->n_in; i++) SG_TRY(check_not_overwritten(p, s, step->in[i]));
        for (int o = 0; o < step->n_out; o++) SG_TRY(check_not_overwritten(p, s, step->out[o]));
    }
    return SG_OK;
}

/* --- the arena -------------------------------------------------------------------------------- */

typedef struct {
    size_t bytes;
    int slot;
} sized_slot;

static int by_size(const void *a, const void *b) {
    const sized_slot *x = a, *y = b;

    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static bool overlap(const sg_slot *a, const sg_slot *b) {
    return a->birth <= b->death && b->birth <= a->death;
}

/* The lowest offset at which `slot` meets none of the placed ones that live at its time. `placed`
 * is sorted by offset. */
static size_t find_offset(const sg_program *p, const int placed[], int n, const sg_slot *slot) {
    size_t offset = 0, bytes = sg_align_up(slot->bytes);

    for (int k = 0; k < n; k++) {
        const sg_slot *other = &p->slot[placed[k]];
        size_t start = (size_t)other->place.offset;

        if (!overlap(slot, other)) continue;
        if (offset + bytes <= start) break;
        if (start + sg_align_up(other->bytes) > offset) offset = start + sg_align_up(other->bytes);
    }
    return offset;
}

static void insert_sorted(const sg_program *p, int placed[], int n, int slot) {
    int k = n;

    while (k > 0 && p->slot[placed[k - 1]].place.offset > p->slot[slot].place.offset) {
        placed[k] = placed[k - 1];
        k--;
    }
    placed[k] = slot;
}

static void place_arena(sg_program *p, const sized_slot order[], int n, int placed[]) {
    for (int k = 0; k < n; k++) {
        sg_slot *slot = &p->slot[order[k].slot];
        size_t end;

        slot->place.offset =
            p->keep_memory ? (int64_t)p->arena_bytes : (int64_t)find_offset(p, placed, k, slot);
        insert_sorted(p, placed, k, order[k].slot);
        end = (size_t)slot->place.offset + sg_align_up(slot->bytes);
        if (end > p->arena_bytes) p->arena_bytes = end;
    }
}

sg_status sg_plan_memory(sg_program *p) {
    sized_slot *order = sg_malloc((size_t)p->n_slots * sizeof *order + 1);
    int *placed = sg_malloc((size_t)p->n_slots * sizeof *placed + 1);
    sg_status st = SG_OK;
    int n = 0;

    if (!order || !placed) st = sg_fail(SG_ERR_OOM, "program: no memory for its plan");
    if (st == SG_OK) {
        find_lifetimes(p);
        st = check_bound(p);
    }
    if (st == SG_OK) {
        if (!p->keep_memory) merge_in_place(p);
        for (int i = 0; i < p->n_slots; i++) {
            if (p->slot[i].place.buffer == SG_BUF_WEIGHTS) {
                p->slot[i].place.offset = (int64_t)p->weights_bytes;
                p->weights_bytes += sg_align_up(p->slot[i].bytes);
            }
            if (!planned(&p->slot[i]) || p->slot[i].root != i) continue;
            order[n].bytes = p->slot[i].bytes;
            order[n++].slot = i;
        }
        qsort(order, (size_t)n, sizeof *order, by_size);
        place_arena(p, order, n, placed);
        for (int i = 0; i < p->n_slots; i++) p->slot[i].place = p->slot[root_of(p, i)].place;
    }
    sg_free(order);
    sg_free(placed);
    return st;
}

const sg_node *sg_program_arena_peak(const sg_program *p) {
    const sg_node *peak = NULL;
    size_t most = 0;

    for (int s = p->n_prologue; s < p->n_steps; s++) {
        size_t bytes = 0;

        for (int i = 0; i < p->n_slots; i++) {
            const sg_slot *slot = &p->slot[i];

            if (planned(slot) && slot->root == i && slot->birth <= s && s <= slot->death)
                bytes += slot->bytes;
        }
        if (bytes <= most) continue;
        most = bytes;
        peak = p->step[s].node;
    }
    return peak;
}
