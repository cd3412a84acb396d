#include "graph/state.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "graph/device.h"

/* kPiece, floats: a multiple of what one counter of Philox gives */
enum { kAlignFloats = 16, kTextBytes = 64, kPiece = 1 << 16 };

sg_status sg_table_create(sg_table **out) {
    sg_table *table = sg_calloc(1, sizeof *table);
    sg_status st = SG_OK;
    int slot;

    if (!table) return sg_fail(SG_ERR_OOM, "state: no memory for a table");
    st = sg_table_sum(table, "normaliser", &slot);
    if (st == SG_OK) st = sg_table_sum(table, "loss", &slot);
    if (st != SG_OK) {
        sg_table_destroy(table);
        return st;
    }
    *out = table;
    return SG_OK;
}

void sg_table_destroy(sg_table *table) {
    if (!table) return;
    for (int i = 0; i < table->n_entries; i++) sg_free(table->entry[i].name);
    for (int i = 0; i < table->n_sums; i++) sg_free(table->sum_name[i]);
    sg_free(table->entry);
    sg_free(table);
}

int sg_table_find(const sg_table *table, const char *name) {
    for (int i = 0; i < table->n_entries; i++) {
        if (strcmp(table->entry[i].name, name) == 0) return i;
    }
    return -1;
}

static sg_status check_same(const sg_entry *entry, sg_entry_kind kind, const sg_shape *shape) {
    char have[kTextBytes], want[kTextBytes];

    if (entry->kind != kind)
        return sg_fail(SG_ERR_ARG, "parameter %s: asked for as another kind than before",
                       entry->name);
    if (!sg_shape_equal(&entry->shape, shape))
        return sg_fail(SG_ERR_ARG, "parameter %s: has shape %s, asked for as %s", entry->name,
                       sg_shape_text(&entry->shape, have, sizeof have),
                       sg_shape_text(shape, want, sizeof want));
    return SG_OK;
}

static sg_status grow(sg_table *table) {
    int capacity = table->capacity ? 2 * table->capacity : 64;
    sg_entry *entry;

    if (table->n_entries < table->capacity) return SG_OK;
    entry = sg_realloc(table->entry, (size_t)table->n_entries * sizeof *entry,
                       (size_t)capacity * sizeof *entry);
    if (!entry) return sg_fail(SG_ERR_OOM, "state: no memory for %d parameters", capacity);
    table->entry = entry;
    table->capacity = capacity;
    return SG_OK;
}

static sg_status check_rows(const sg_table *table, const char *name, const sg_shape *shape) {
    char text[kTextBytes];

    if (shape->rank != 2)
        return sg_fail(SG_ERR_ARG, "parameter %s: a table of rows has two dimensions, not %s", name,
                       sg_shape_text(shape, text, sizeof text));
    if (table->n_row_tables == SG_MAX_ROWS)
        return sg_fail(SG_ERR_ARG, "parameter %s: there are %d tables of rows already", name,
                       SG_MAX_ROWS);
    return SG_OK;
}

sg_status sg_table_entry(sg_table *table, const char *name, sg_entry_kind kind,
                         const sg_shape *shape, sg_init init, int *index) {
    int i = sg_table_find(table, name);
    sg_entry *entry;

    if (i >= 0) {
        SG_TRY(check_same(&table->entry[i], kind, shape));
        *index = i;
        return SG_OK;
    }
    if (table->frozen)
        return sg_fail(SG_ERR_ARG, "parameter %s: the model was built without it", name);
    if (kind == SG_ENTRY_ROWS) SG_TRY(check_rows(table, name, shape));
    SG_TRY(grow(table));
    entry = &table->entry[table->n_entries];
    memset(entry, 0, sizeof *entry);
    entry->name = sg_strdup(name);
    if (!entry->name) return sg_fail(SG_ERR_OOM, "parameter %s: no memory for its name", name);
    entry->kind = kind;
    entry->shape = *shape;
    entry->init = init;
    entry->count = sg_shape_count(shape);
    if (kind == SG_ENTRY_ROWS) entry->rows_index = table->n_row_tables++;
    *index = table->n_entries++;
    return SG_OK;
}

sg_status sg_table_sum(sg_table *table, const char *name, int *slot) {
    for (int i = 0; i < table->n_sums; i++) {
        if (strcmp(table->sum_name[i], name) == 0) {
            *slot = i;
            return SG_OK;
        }
    }
    if (table->frozen) return sg_fail(SG_ERR_ARG, "sum %s: the model was built without it", name);
    if (table->n_sums == SG_MAX_SUMS)
        return sg_fail(SG_ERR_ARG, "sum %s: there are %d sums already", name, SG_MAX_SUMS);
    table->sum_name[table->n_sums] = sg_strdup(name);
    if (!table->sum_name[table->n_sums])
        return sg_fail(SG_ERR_OOM, "sum %s: no memory for its name", name);
    *slot = table->n_sums++;
    return SG_OK;
}

static int64_t aligned(int64_t floats) {
    return (floats + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
}

/* Tables of rows, in buffers of their own. */
static void place_rows(sg_table *table) {
    for (int i = 0; i < table->n_entries; i++) {
        sg_entry *entry = &table->entry[i];

        if (entry->kind != SG_ENTRY_ROWS) continue;
        entry->offset = table->n_rows;
        entry->row_offset = table->n_row_sums;
        table->n_rows += aligned(entry->count);
        table->n_row_sums += aligned(entry->shape.dim[0]);
    }
}

void sg_table_freeze(sg_table *table) {
    int64_t offset = 0;

    if (table->frozen) return;
    for (int kind = 0; kind < SG_ENTRY_ROWS; kind++) {
        for (int i = 0; i < table->n_entries; i++) {
            sg_entry *entry = &table->entry[i];

            if ((int)entry->kind != kind) continue;
            entry->offset = offset;
            offset += aligned(entry->count);
        }
        if (kind == SG_ENTRY_DECAY) table->n_decay = offset;
        if (kind == SG_ENTRY_NO_DECAY) table->n_params = offset;
    }
    table->n_values = offset;
    table->n_grads = offset + SG_MAX_SUMS;
    place_rows(table);
    table->frozen = true;
}

int64_t sg_table_rows_sum(const sg_table *table, sg_rows_rule rule) {
    if (rule == SG_ROWS_SGD) return 0;
    return rule == SG_ROWS_ADAGRAD ? table->n_rows : table->n_row_sums;
}

int64_t sg_entry_sum_offset(const sg_entry *entry, sg_rows_rule rule) {
    return rule == SG_ROWS_ADAGRAD ? entry->offset : entry->row_offset;
}

sg_shape sg_entry_sum_shape(const sg_entry *entry, sg_rows_rule rule) {
    return rule == SG_ROWS_ADAGRAD ? entry->shape : sg_shape_1(entry->shape.dim[0]);
}

static sg_status alloc_floats(const sg_device *device, int64_t count, float **out) {
    void *block = NULL;

    if (device)
        SG_TRY(device->alloc_host((size_t)count * sizeof(float), "the state", &block));
    else if (!(block = sg_calloc((size_t)count, sizeof(float))))
        return sg_fail(SG_ERR_OOM, "state: no memory for %lld floats", (long long)count);
    *out = block;
    return SG_OK;
}

static void free_floats(const sg_device *device, float *block) {
    if (device)
        device->release_host(block);
    else
        sg_free(block);
}

/* Rows are read here and there. NULL for no floats: a model without tables pays nothing. */
static sg_status alloc_rows(const sg_device *device, int64_t count, float **out) {
    if (count == 0) return SG_OK;
    if (device) return alloc_floats(device, count, out);
    *out = sg_calloc_large((size_t)count * sizeof(float));
    return *out ? SG_OK : sg_fail(SG_ERR_OOM, "state: no memory for %lld floats", (long long)count);
}

sg_status sg_state_create_with(const sg_table *table, const sg_state_options *options,
                               sg_state **out) {
    const sg_device *device = options->device;
    sg_state *state = sg_calloc(1, sizeof *state);
    sg_status st;

    if (!state) return sg_fail(SG_ERR_OOM, "state: no memory");
    state->table = table;
    state->n_moments = options->n_moments;
    state->rule = options->rule;
    state->sum_start = options->sum_start;
    state->device = device;
    st = alloc_floats(device, table->n_values, &state->values);
    if (st == SG_OK) st = alloc_floats(device, table->n_values, &state->ema);
    for (int i = 0; i < options->n_moments && st == SG_OK; i++)
        st = alloc_floats(device, table->n_params, &state->moment[i]);
    if (st == SG_OK) st = alloc_rows(device, table->n_rows, &state->rows);
    if (st == SG_OK)
        st = alloc_rows(device, sg_table_rows_sum(table, options->rule), &state->rows_sum);
    if (st != SG_OK) {
        sg_state_destroy(state);
        return st;
    }
    *out = state;
    return SG_OK;
}

sg_status sg_state_create(const sg_table *table, int n_moments, sg_state **out) {
    return sg_state_create_with(table, &(sg_state_options){.n_moments = n_moments}, out);
}

void sg_state_destroy(sg_state *state) {
    if (!state) return;
    free_floats(state->device, state->values);
    free_floats(state->device, state->ema);
    free_floats(state->device, state->moment[0]);
    free_floats(state->device, state->moment[1]);
    free_floats(state->device, state->rows);
    free_floats(state->device, state->rows_sum);
    sg_free(state);
}

/* Floats first .. first + count - 1 of an entry, into x. */
static void draw(const sg_entry *entry, uint64_t seed, int64_t first, int64_t count, float *x) {
    sg_random r = sg_random_init(sg_key_mix(seed, sg_key_name(entry->name)));
    float scale = entry->init.value;
    int64_t fan_in = entry->shape.rank > 1 && entry->shape.dim[0] > 0
                         ? entry->count / entry->shape.dim[0]
                         : entry->count;

    r.index = (uint64_t)first;
    if (entry->init.kind == SG_INIT_CONSTANT) {
        for (int64_t i = 0; i < count; i++) x[i] = scale;
    } else if (entry->init.kind == SG_INIT_UNIFORM) {
        sg_random_ranges(&r, -scale, scale, x, count);
    } else {
        if (entry->init.kind == SG_INIT_KAIMING)
            scale *= sqrtf(2.0f / (float)(fan_in ? fan_in : 1));
        sg_random_normals(&r, x, count);
        for (int64_t i = 0; i < count; i++) x[i] *= scale;
    }
}

static int64_t pieces_of(const sg_entry *entry) { return (entry->count + kPiece - 1) / kPiece; }

int64_t sg_state_pieces(const sg_table *table) {
    int64_t n = 0;

    for (int i = 0; i < table->n_entries; i++) n += pieces_of(&table->entry[i]);
    return n;
}

void sg_state_draw(sg_state *state, int64_t piece, uint64_t seed) {
    const sg_entry *entry = state->table->entry;
    int64_t first, left;
    float *x;

    while (piece >= pieces_of(entry)) piece -= pieces_of(entry++);
    x = (entry->kind == SG_ENTRY_ROWS ? state->rows : state->values) + entry->offset;
    first = piece * kPiece;
    left = entry->count - first;
    draw(entry, seed, first, left < kPiece ? left : kPiece, x + first);
}

void sg_state_init(sg_state *state, uint64_t seed) {
    int64_t pieces = sg_state_pieces(state->table);

    memset(state->values, 0, (size_t)state->table->n_values * sizeof(float));
    for (int64_t i = 0; i < pieces; i++) sg_state_draw(state, i, seed);
    sg_state_begin(state, seed);
}

void sg_state_begin_sums(sg_state *state) {
    int64_t n = sg_table_rows_sum(state->table, state->rule);

    for (int64_t i = 0; i < n; i++) state->rows_sum[i] = state->sum_start;
}

void sg_state_begin(sg_state *state, uint64_t seed) {
    const sg_table *table = state->table;

    memcpy(state->ema, state->values, (size_t)table->n_values * sizeof(float));
    for (int i = 0; i < state->n_moments; i++)
        memset(state->moment[i], 0, (size_t)table->n_params * sizeof(float));
    sg_state_begin_sums(state);
    state->step = state->samples = 0;
    state->seed = seed;
}
