#include "graph/state.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "graph/device.h"

enum { kAlignFloats = 16, kTextBytes = 64 };

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
    SG_TRY(grow(table));
    entry = &table->entry[table->n_entries];
    memset(entry, 0, sizeof *entry);
    entry->name = sg_strdup(name);
    if (!entry->name) return sg_fail(SG_ERR_OOM, "parameter %s: no memory for its name", name);
    entry->kind = kind;
    entry->shape = *shape;
    entry->init = init;
    entry->count = sg_shape_count(shape);
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

void sg_table_freeze(sg_table *table) {
    int64_t offset = 0;

    if (table->frozen) return;
    for (int kind = 0; kind < SG_ENTRY_KINDS; kind++) {
        for (int i = 0; i < table->n_entries; i++) {
            sg_entry *entry = &table->entry[i];

            if ((int)entry->kind != kind) continue;
            entry->offset = offset;
            offset += (entry->count + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
        }
        if (kind == SG_ENTRY_DECAY) table->n_decay = offset;
        if (kind == SG_ENTRY_NO_DECAY) table->n_params = offset;
    }
    table->n_values = offset;
    table->n_grads = offset + SG_MAX_SUMS;
    table->frozen = true;
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

sg_status sg_state_create_pinned(const sg_table *table, int n_moments, const sg_device *device,
                                 sg_state **out) {
    sg_state *state = sg_calloc(1, sizeof *state);
    sg_status st;

    if (!state) return sg_fail(SG_ERR_OOM, "state: no memory");
    state->table = table;
    state->n_moments = n_moments;
    state->device = device;
    st = alloc_floats(device, table->n_values, &state->values);
    if (st == SG_OK) st = alloc_floats(device, table->n_values, &state->ema);
    for (int i = 0; i < n_moments && st == SG_OK; i++)
        st = alloc_floats(device, table->n_params, &state->moment[i]);
    if (st != SG_OK) {
        sg_state_destroy(state);
        return st;
    }
    *out = state;
    return SG_OK;
}

sg_status sg_state_create(const sg_table *table, int n_moments, sg_state **out) {
    return sg_state_create_pinned(table, n_moments, NULL, out);
}

void sg_state_destroy(sg_state *state) {
    if (!state) return;
    free_floats(state->device, state->values);
    free_floats(state->device, state->ema);
    free_floats(state->device, state->moment[0]);
    free_floats(state->device, state->moment[1]);
    sg_free(state);
}

static void draw(const sg_entry *entry, uint64_t seed, float *x) {
    sg_random r = sg_random_init(sg_key_mix(seed, sg_key_name(entry->name)));
    float scale = entry->init.value;
    int64_t fan_in = entry->shape.rank > 1 && entry->shape.dim[0] > 0
                         ? entry->count / entry->shape.dim[0]
                         : entry->count;

    if (entry->init.kind == SG_INIT_KAIMING) scale *= sqrtf(2.0f / (float)(fan_in ? fan_in : 1));
    if (entry->init.kind == SG_INIT_KAIMING || entry->init.kind == SG_INIT_NORMAL)
        sg_random_normals(&r, x, entry->count);
    for (int64_t i = 0; i < entry->count; i++) {
        if (entry->init.kind == SG_INIT_CONSTANT)
            x[i] = scale;
        else if (entry->init.kind == SG_INIT_UNIFORM)
            x[i] = sg_random_range(&r, -scale, scale);
        else
            x[i] *= scale;
    }
}

void sg_state_draw(sg_state *state, int i, uint64_t seed) {
    const sg_entry *entry = &state->table->entry[i];

    draw(entry, seed, state->values + entry->offset);
}

void sg_state_init(sg_state *state, uint64_t seed) {
    memset(state->values, 0, (size_t)state->table->n_values * sizeof(float));
    for (int i = 0; i < state->table->n_entries; i++) sg_state_draw(state, i, seed);
    sg_state_begin(state, seed);
}

void sg_state_begin(sg_state *state, uint64_t seed) {
    const sg_table *table = state->table;

    memcpy(state->ema, state->values, (size_t)table->n_values * sizeof(float));
    for (int i = 0; i < state->n_moments; i++)
        memset(state->moment[i], 0, (size_t)table->n_params * sizeof(float));
    state->step = state->samples = 0;
    state->seed = seed;
}
