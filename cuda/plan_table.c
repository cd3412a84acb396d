#include "plan_table.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"

/* A few hundred lines at most: they are searched from the first. */
struct sg_plan_table {
    char *text; /* all lines, each with its end; owned */
    size_t length, room;
};

static const char *precision_name(sg_cuda_precision precision) {
    static const char *const names[] = {"fp32", "tf32", "bf16"};

    return names[precision];
}

static const char *act_name(sg_act act) {
    static const char *const names[] = {"", " relu", " silu", " gelu"};

    return names[act];
}

void sg_plan_key_conv(const sg_vendor_conv *c, char key[SG_PLAN_KEY]) {
    static const char *const passes[] = {"conv2d", "conv2d_dx", "conv2d_dw"};

    snprintf(key, SG_PLAN_KEY,
             "%s x %lld,%lld,%lld,%lld w %lld,%lldx%lld stride %lld pad %lld groups %lld %s%s%s",
             passes[c->pass], (long long)c->N, (long long)c->C, (long long)c->H, (long long)c->W,
             (long long)c->OC, (long long)c->KH, (long long)c->KW, (long long)c->stride,
             (long long)c->pad, (long long)c->groups, precision_name(c->precision),
             c->bias ? " bias" : "", act_name(c->act));
}

void sg_plan_key_matmul(const sg_vendor_matmul *m, char key[SG_PLAN_KEY]) {
    static const char *const epilogues[SG_EPILOGUE_COUNT] = {"", " act", " slope", " sums"};

    snprintf(key, SG_PLAN_KEY, "matmul %lld,%lld,%lld%s%s %s%s%s%s%s%s", (long long)m->M,
             (long long)m->N, (long long)m->K, m->transpose_a ? " ta" : "",
             m->transpose_b ? " tb" : "", precision_name(m->precision), m->f32_out ? " f32" : "",
             epilogues[m->epilogue], m->bias ? " bias" : "", act_name(m->act),
             m->keep_z ? " z" : "");
}

/* The line of `key` and what follows, or NULL. */
static const char *line_of(const sg_plan_table *t, const char *key, size_t length) {
    for (const char *line = t->text; line && *line; line = strchr(line, '\n') + 1)
        if (strncmp(line, key, length) == 0 && line[length] == '\t') return line;
    return NULL;
}

static sg_status add(sg_plan_table *t, const char *key, size_t key_length, const char *choice,
                     size_t choice_length) {
    size_t more = key_length + choice_length + 2;

    if (key_length == 0 || key_length >= SG_PLAN_KEY || choice_length == 0 ||
        choice_length >= SG_PLAN_CHOICE)
        return sg_fail(SG_ERR_DATA, "plans: a line is not KEY, tab, CHOICE: \"%.*s\"", 40, key);
    if (line_of(t, key, key_length))
        return sg_fail(SG_ERR_DATA, "plans: \"%.*s\" is there twice", (int)key_length, key);
    if (t->length + more + 1 > t->room) {
        size_t room = 2 * (t->length + more + 1);
        char *text = sg_realloc(t->text, t->room, room);

        if (!text) return sg_fail(SG_ERR_OOM, "plans: no memory for the table");
        t->text = text;
        t->room = room;
    }
    t->length += (size_t)snprintf(t->text + t->length, more + 1, "%.*s\t%.*s\n", (int)key_length,
                                  key, (int)choice_length, choice);
    return SG_OK;
}

sg_status sg_plan_table_add(sg_plan_table *t, const char *key, const char *choice) {
    return add(t, key, strlen(key), choice, strlen(choice));
}

static sg_status read_lines(sg_plan_table *t, const char *text) {
    while (*text) {
        const char *end = strchr(text, '\n');
        const char *tab = end ? memchr(text, '\t', (size_t)(end - text)) : NULL;

        if (!tab)
            return sg_fail(SG_ERR_DATA, "plans: a line is not KEY, tab, CHOICE: \"%.40s\"", text);
        SG_TRY(add(t, text, (size_t)(tab - text), tab + 1, (size_t)(end - tab - 1)));
        text = end + 1;
    }
    return SG_OK;
}

sg_status sg_plan_table_create(const char *text, sg_plan_table **out) {
    sg_plan_table *t = sg_calloc(1, sizeof *t);
    sg_status st;

    if (!t) return sg_fail(SG_ERR_OOM, "plans: no memory for the table");
    st = text ? read_lines(t, text) : SG_OK;
    if (st != SG_OK) {
        sg_plan_table_destroy(t);
        return st;
    }
    *out = t;
    return SG_OK;
}

void sg_plan_table_destroy(sg_plan_table *t) {
    if (t) sg_free(t->text);
    sg_free(t);
}

bool sg_plan_table_find(const sg_plan_table *t, const char *key, char choice[SG_PLAN_CHOICE]) {
    const char *line = line_of(t, key, strlen(key));

    if (!line) return false;
    line += strlen(key) + 1;
    snprintf(choice, SG_PLAN_CHOICE, "%.*s", (int)(strchr(line, '\n') - line), line);
    return true;
}

char *sg_plan_table_text(const sg_plan_table *t) { return sg_strdup(t->text ? t->text : ""); }
