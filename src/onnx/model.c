/* The model is the tree of messages that protoc-c has made structs of. All of them, their texts and
 * lists lie in blocks that the model frees together. */
#include "onnx/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "onnx.pb-c.h"
#include "spotgrad.h"

typedef struct block {
    struct block *next;
} block;

enum { kBlockHead = SG_ALIGN, kNameBytes = 256 };

const char SG_ONNX_END[] = "(end)";

/* A list that grows: its capacity, as the message has only its length. */
typedef struct {
    size_t node, initializer, input, output, about;
} capacities;

struct sg_onnx {
    block *blocks; /* owned */
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__OperatorSetIdProto opset, *opsets[1];
    capacities room;
    char scope[kNameBytes];
    int64_t named; /* values that were named in the scope */
    sg_status status;
    char *error; /* text of the first failure, owned; NULL may mean no memory for it */
};

/* --- failures and memory ---------------------------------------------------------------------- */

const char *sg_onnx_fail(sg_onnx *m, sg_status st) {
    if (m->status == SG_OK) {
        m->status = st;
        m->error = sg_strdup(sg_last_error());
    }
    return NULL;
}

sg_status sg_onnx_status(const sg_onnx *m) {
    if (m->status == SG_OK) return SG_OK;
    return sg_fail(m->status, "%s", m->error ? m->error : "onnx: no memory");
}

/* Zeroed, the model's; NULL after a failure, now or before. */
static void *take(sg_onnx *m, size_t bytes) {
    block *b = m->status == SG_OK ? sg_calloc(1, kBlockHead + bytes) : NULL;

    if (!b) {
        if (m->status == SG_OK) sg_onnx_fail(m, sg_fail(SG_ERR_OOM, "onnx: no memory"));
        return NULL;
    }
    b->next = m->blocks;
    m->blocks = b;
    return (char *)b + kBlockHead;
}

static char *copy_text(sg_onnx *m, const char *text) {
    char *copy = take(m, strlen(text) + 1);

    if (copy) strcpy(copy, text);
    return copy;
}

static void *copy_bytes(sg_onnx *m, const void *data, size_t bytes) {
    void *copy = take(m, bytes);

    if (copy && bytes > 0) memcpy(copy, data, bytes);
    return copy;
}

/* Appends to a list of pointers, which lies in a new block when it has outgrown its own. */
static void append(sg_onnx *m, void *list, size_t *n, size_t *room, void *item) {
    void **items;

    memcpy(&items, list, sizeof items); /* a list of whatever messages */
    if (!item || m->status != SG_OK) return;
    if (*n == *room) {
        size_t grown = *room ? 2 * *room : 64;
        void **larger = take(m, grown * sizeof *larger);

        if (!larger) return;
        if (*n > 0) memcpy(larger, items, *n * sizeof *larger);
        memcpy(list, &larger, sizeof larger);
        items = larger;
        *room = grown;
    }
    items[(*n)++] = item;
}

sg_status sg_onnx_create(sg_onnx **out) {
    sg_onnx *m = sg_calloc(1, sizeof *m);

    if (!m) return sg_fail(SG_ERR_OOM, "onnx: no memory");
    onnx__model_proto__init(&m->model);
    onnx__graph_proto__init(&m->graph);
    onnx__operator_set_id_proto__init(&m->opset);
    m->opset.domain = ""; /* present, as the checkers of old want it */
    m->opset.has_version = 1;
    m->opset.version = SG_ONNX_OPSET;
    m->opsets[0] = &m->opset;
    m->model.n_opset_import = 1;
    m->model.opset_import = m->opsets;
    m->model.has_ir_version = 1;
    m->model.ir_version = SG_ONNX_IR;
    m->model.producer_name = "spotgrad";
    m->model.producer_version = SPOTGRAD_VERSION;
    m->model.graph = &m->graph;
    m->graph.name = "spotgrad";
    *out = m;
    return SG_OK;
}

void sg_onnx_destroy(sg_onnx *m) {
    if (!m) return;
    for (block *b = m->blocks, *next; b; b = next) {
        next = b->next;
        sg_free(b);
    }
    sg_free(m->error);
    sg_free(m);
}

/* --- names ------------------------------------------------------------------------------------ */

void sg_onnx_scope(sg_onnx *m, const char *name) {
    if (strcmp(m->scope, name) == 0) return;
    snprintf(m->scope, sizeof m->scope, "%s", name);
    m->named = 0;
}

/* "SCOPE/WHAT_7" */
static char *new_name(sg_onnx *m, const char *what) {
    char name[kNameBytes + 64];

    snprintf(name, sizeof name, "%s/%s_%lld", m->scope, what, (long long)m->named++);
    return copy_text(m, name);
}

/* --- types of inputs and outputs -------------------------------------------------------------- */

size_t sg_onnx_type_bytes(int type) {
    switch (type) {
    case SG_ONNX_UINT8:
    case SG_ONNX_INT8:
    case SG_ONNX_BOOL:
        return 1;
    case SG_ONNX_FLOAT:
    case SG_ONNX_INT32:
        return 4;
    case SG_ONNX_INT64:
    case SG_ONNX_DOUBLE:
        return 8;
    default:
        return 0;
    }
}

static Onnx__TensorShapeProto__Dimension *dimension(sg_onnx *m, const char *word, size_t length) {
    Onnx__TensorShapeProto__Dimension *d = take(m, sizeof *d);
    char *text = take(m, length + 1), *end;
    long long value;

    if (!d || !text) return NULL;
    memcpy(text, word, length);
    onnx__tensor_shape_proto__dimension__init(d);
    value = strtoll(text, &end, 10);
    if (*end == '\0') {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        d->dim_value = value;
    } else {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        d->dim_param = text;
    }
    return d;
}

static Onnx__ValueInfoProto *value_info(sg_onnx *m, char *name, sg_onnx_type type,
                                        const char *dims) {
    Onnx__ValueInfoProto *info = take(m, sizeof *info);
    Onnx__TypeProto *whole = take(m, sizeof *whole);
    Onnx__TypeProto__Tensor *tensor = take(m, sizeof *tensor);
    Onnx__TensorShapeProto *shape = take(m, sizeof *shape);
    size_t room = 0;

    if (!info || !whole || !tensor || !shape) return NULL;
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(whole);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    for (size_t length; *dims; dims += length + (dims[length] == ' ')) {
        length = strcspn(dims, " ");
        append(m, &shape->dim, &shape->n_dim, &room, dimension(m, dims, length));
    }
    tensor->has_elem_type = 1;
    tensor->elem_type = (int32_t)type;
    tensor->shape = shape;
    whole->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    whole->tensor_type = tensor;
    info->name = name;
    info->type = whole;
    return info;
}

/* The dimensions of a call, or NULL. */
static char *format(sg_onnx *m, const char *fmt, va_list args) {
    char *text = sg_str_vprintf(fmt, args), *copy;

    if (!text) sg_onnx_fail(m, sg_fail(SG_ERR_OOM, "onnx: no memory"));
    copy = text ? copy_text(m, text) : NULL;
    sg_free(text);
    return copy;
}

const char *sg_onnx_input(sg_onnx *m, const char *name, sg_onnx_type type, const char *dims, ...) {
    char *copy = copy_text(m, name), *text;
    va_list args;

    va_start(args, dims);
    text = format(m, dims, args);
    va_end(args);
    if (!copy || !text) return NULL;
    append(m, &m->graph.input, &m->graph.n_input, &m->room.input, value_info(m, copy, type, text));
    return m->status == SG_OK ? copy : NULL;
}

void sg_onnx_output(sg_onnx *m, const char *name, const char *value, sg_onnx_type type,
                    const char *dims, ...) {
    char *copy = copy_text(m, name), *text;
    va_list args;

    va_start(args, dims);
    text = format(m, dims, args);
    va_end(args);
    if (!copy || !text || !value) return;
    /* an Identity gives a name without another look at the nodes; runtimes leave it out */
    if (!sg_onnx_node(m, "Identity", SG_ONNX_IN(value), NULL)) return;
    m->graph.node[m->graph.n_node - 1]->output[0] = copy;
    append(m, &m->graph.output, &m->graph.n_output, &m->room.output,
           value_info(m, copy, type, text));
}

/* --- constants -------------------------------------------------------------------------------- */

static const char *put_tensor(sg_onnx *m, char *name, sg_onnx_type type, int rank,
                              const int64_t *dim, const void *data) {
    Onnx__TensorProto *t = take(m, sizeof *t);
    size_t count = 1;

    if (!t || !name) return NULL;
    for (int i = 0; i < rank; i++) count *= (size_t)dim[i];
    onnx__tensor_proto__init(t);
    t->name = name;
    t->n_dims = (size_t)rank;
    t->dims = copy_bytes(m, dim, (size_t)rank * sizeof *dim);
    t->has_data_type = 1;
    t->data_type = (int32_t)type;
    t->has_raw_data = 1; /* little-endian, as this processor */
    t->raw_data.len = count * sg_onnx_type_bytes((int)type);
    t->raw_data.data = copy_bytes(m, data, t->raw_data.len);
    append(m, &m->graph.initializer, &m->graph.n_initializer, &m->room.initializer, t);
    return m->status == SG_OK ? name : NULL;
}

const char *sg_onnx_tensor(sg_onnx *m, const char *name, sg_onnx_type type, int rank,
                           const int64_t *dim, const void *data) {
    return put_tensor(m, copy_text(m, name), type, rank, dim, data);
}

const char *sg_onnx_float(sg_onnx *m, float value) {
    return put_tensor(m, new_name(m, "number"), SG_ONNX_FLOAT, 0, NULL, &value);
}

const char *sg_onnx_double(sg_onnx *m, double value) {
    return put_tensor(m, new_name(m, "number"), SG_ONNX_DOUBLE, 0, NULL, &value);
}

const char *sg_onnx_int(sg_onnx *m, int64_t value) {
    return put_tensor(m, new_name(m, "number"), SG_ONNX_INT64, 0, NULL, &value);
}

const char *sg_onnx_ints(sg_onnx *m, int n, const int64_t *values) {
    return put_tensor(m, new_name(m, "numbers"), SG_ONNX_INT64, 1, &(int64_t){n}, values);
}

/* --- nodes ------------------------------------------------------------------------------------ */

sg_onnx_attr sg_onnx_attr_int(const char *name, int64_t value) {
    return (sg_onnx_attr){.name = name, .kind = SG_ONNX_ATTR_INT, .i = {value}, .n = 1};
}

sg_onnx_attr sg_onnx_attr_float(const char *name, float value) {
    return (sg_onnx_attr){.name = name, .kind = SG_ONNX_ATTR_FLOAT, .f = value};
}

sg_onnx_attr sg_onnx_attr_text(const char *name, const char *value) {
    return (sg_onnx_attr){.name = name, .kind = SG_ONNX_ATTR_TEXT, .s = value};
}

sg_onnx_attr sg_onnx_attr_ints(const char *name, int n, const int64_t *values) {
    sg_onnx_attr a = {.name = name, .kind = SG_ONNX_ATTR_INTS, .n = n};

    for (int i = 0; i < n; i++) a.i[i] = values[i];
    return a;
}

static Onnx__AttributeProto *attribute(sg_onnx *m, const sg_onnx_attr *a) {
    Onnx__AttributeProto *p = take(m, sizeof *p);

    if (!p) return NULL;
    onnx__attribute_proto__init(p);
    p->name = copy_text(m, a->name);
    p->has_type = 1;
    switch (a->kind) {
    case SG_ONNX_ATTR_INT:
        p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
        p->has_i = 1;
        p->i = a->i[0];
        break;
    case SG_ONNX_ATTR_FLOAT:
        p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
        p->has_f = 1;
        p->f = a->f;
        break;
    case SG_ONNX_ATTR_TEXT:
        p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
        p->has_s = 1;
        p->s.len = strlen(a->s);
        p->s.data = (uint8_t *)copy_text(m, a->s);
        break;
    case SG_ONNX_ATTR_INTS:
        p->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
        p->n_ints = (size_t)a->n;
        p->ints = copy_bytes(m, a->i, (size_t)a->n * sizeof *p->ints);
        break;
    }
    return p;
}

/* Whether all are there. */
static bool put_inputs(sg_onnx *m, Onnx__NodeProto *node, const char *const in[]) {
    size_t room = 0;

    for (; *in != SG_ONNX_END; in++) {
        char *name = *in ? copy_text(m, *in) : NULL;

        if (!name) return false;
        append(m, &node->input, &node->n_input, &room, name);
    }
    return m->status == SG_OK;
}

static Onnx__NodeProto *new_node(sg_onnx *m, const char *op, const char *const in[],
                                 const sg_onnx_attr *attrs) {
    Onnx__NodeProto *node = take(m, sizeof *node);
    size_t room = 0;

    if (!node) return NULL;
    onnx__node_proto__init(node);
    node->op_type = copy_text(m, op);
    if (!put_inputs(m, node, in)) return NULL;
    for (; attrs && attrs->name; attrs++)
        append(m, &node->attribute, &node->n_attribute, &room, attribute(m, attrs));
    return m->status == SG_OK ? node : NULL;
}

const char *sg_onnx_node_of(sg_onnx *m, const char *op, const char *const in[],
                            const sg_onnx_attr *attrs, int n_out, const char **more) {
    Onnx__NodeProto *node = new_node(m, op, in, attrs);
    size_t room = 0;

    for (int o = 1; o < n_out; o++) more[o - 1] = NULL;
    if (!node) {
        /* a NULL of a sound model is a caller's mistake that must not pass for a whole model */
        if (m->status == SG_OK)
            sg_onnx_fail(m, sg_fail(SG_ERR_ARG, "onnx: %s of %s lacks an input", op, m->scope));
        return NULL;
    }
    for (int o = 0; o < n_out; o++) {
        char *name = new_name(m, op);

        append(m, &node->output, &node->n_output, &room, name);
        if (o > 0) more[o - 1] = name;
    }
    append(m, &m->graph.node, &m->graph.n_node, &m->room.node, node);
    if (m->status != SG_OK) return NULL;
    node->name = node->output[0];
    return node->output[0];
}

const char *sg_onnx_node(sg_onnx *m, const char *op, const char *const in[],
                         const sg_onnx_attr *attrs) {
    return sg_onnx_node_of(m, op, in, attrs, 1, NULL);
}

/* --- about, and the file ---------------------------------------------------------------------- */

void sg_onnx_about(sg_onnx *m, const char *key, const char *value) {
    Onnx__StringStringEntryProto *entry = take(m, sizeof *entry);

    if (!entry) return;
    onnx__string_string_entry_proto__init(entry);
    entry->key = copy_text(m, key);
    entry->value = copy_text(m, value);
    append(m, &m->model.metadata_props, &m->model.n_metadata_props, &m->room.about, entry);
}

void sg_onnx_about_f(sg_onnx *m, const char *key, const char *fmt, ...) {
    va_list args;
    char *text;

    va_start(args, fmt);
    text = format(m, fmt, args);
    va_end(args);
    if (text) sg_onnx_about(m, key, text);
}

sg_status sg_onnx_pack(const sg_onnx *m, uint8_t **bytes, size_t *size) {
    size_t n;
    uint8_t *out;

    SG_TRY(sg_onnx_status(m));
    n = onnx__model_proto__get_packed_size(&m->model);
    if (n > INT32_MAX)
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "onnx: the model has %zu bytes; an ONNX file holds at most 2 GB", n);
    out = sg_malloc(n);
    if (!out) return sg_fail(SG_ERR_OOM, "onnx: no memory for %zu bytes", n);
    onnx__model_proto__pack(&m->model, out);
    *bytes = out;
    *size = n;
    return SG_OK;
}
