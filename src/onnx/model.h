/* An ONNX model in making: values, nodes, constants, what is said about it; then its file.
 *
 * A value is known by its name, a pointer that the model owns. As with sg_graph's builders, a call
 * after a failure returns NULL and NULL is taken quietly: the model keeps its first error,
 * sg_onnx_status returns it. Nodes are written in the order of these calls, so a value is made
 * before it is used. The same calls give the same bytes. */
#ifndef SG_ONNX_MODEL_H
#define SG_ONNX_MODEL_H

#include <stdint.h>

#include "core/status.h"
#include "core/tensor.h"

/* What is written: what onnx 1.12 checks and every runtime since then takes. */
enum { SG_ONNX_IR = 8, SG_ONNX_OPSET = 17 };

/* Types of elements, ONNX's numbers. */
typedef enum {
    SG_ONNX_FLOAT = 1,
    SG_ONNX_UINT8 = 2,
    SG_ONNX_INT8 = 3,
    SG_ONNX_INT32 = 6,
    SG_ONNX_INT64 = 7,
    SG_ONNX_BOOL = 9,
    SG_ONNX_DOUBLE = 11
} sg_onnx_type;

/* Bytes of one; 0 for another number. */
size_t sg_onnx_type_bytes(int type);

typedef struct sg_onnx sg_onnx;

sg_status sg_onnx_create(sg_onnx **out) SG_CHECKED;
void sg_onnx_destroy(sg_onnx *m); /* NULL is fine */
/* The first failure of any call, its text as this thread's last error. */
sg_status sg_onnx_status(const sg_onnx *m) SG_CHECKED;
/* Keep a failure (the first counts) and return NULL. */
const char *sg_onnx_fail(sg_onnx *m, sg_status st);

/* What comes next is named "NAME/OPERATOR_0", "NAME/OPERATOR_1" and so on, whatever was before: a
 * scope's values have the same names in every model that has it. A scope is not come back to. */
void sg_onnx_scope(sg_onnx *m, const char *name);

/* Dimensions as text, "batch 3 256 256": what is no number is a dimension that varies. */
const char *sg_onnx_input(sg_onnx *m, const char *name, sg_onnx_type type, const char *dims, ...)
    SG_PRINTF(4, 5);
/* The value gets this name, by which a client asks for it. */
void sg_onnx_output(sg_onnx *m, const char *name, const char *value, sg_onnx_type type,
                    const char *dims, ...) SG_PRINTF(5, 6);

/* Constants. Data is copied; `name` is used as it is and must be new. */
const char *sg_onnx_tensor(sg_onnx *m, const char *name, sg_onnx_type type, int rank,
                           const int64_t *dim, const void *data);
/* Named by the scope: one number, of rank 0, and a list. */
const char *sg_onnx_float(sg_onnx *m, float value);
const char *sg_onnx_double(sg_onnx *m, double value);
const char *sg_onnx_int(sg_onnx *m, int64_t value);
const char *sg_onnx_ints(sg_onnx *m, int n, const int64_t *values);
/* A list of the numbers that follow. */
#define SG_ONNX_INTS(m, ...)                                                                       \
    sg_onnx_ints(m, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                     \
                 (const int64_t[]){__VA_ARGS__})

/* An attribute is a number, a text (s) or a list (n > 0 numbers i). */
typedef struct {
    const char *name;
    enum { SG_ONNX_ATTR_INT, SG_ONNX_ATTR_FLOAT, SG_ONNX_ATTR_TEXT, SG_ONNX_ATTR_INTS } kind;
    int64_t i[8];
    int n;
    float f;
    const char *s;
} sg_onnx_attr;

sg_onnx_attr sg_onnx_attr_int(const char *name, int64_t value);
sg_onnx_attr sg_onnx_attr_float(const char *name, float value);
sg_onnx_attr sg_onnx_attr_text(const char *name, const char *value);
sg_onnx_attr sg_onnx_attr_ints(const char *name, int n, const int64_t *values); /* at most 8 */

/* Lists of inputs and attributes, ended as sg_onnx_node wants them. An input "" is left out. */
extern const char SG_ONNX_END[];
#define SG_ONNX_IN(...)   ((const char *const[]){__VA_ARGS__, SG_ONNX_END})
#define SG_ONNX_WITH(...) ((const sg_onnx_attr[]){__VA_ARGS__, {.name = NULL}})

/* A node of an ONNX operator; `attrs` may be NULL. Returns its first output; the other of `n_out`
 * are put into `more` (n_out - 1). */
const char *sg_onnx_node(sg_onnx *m, const char *op, const char *const in[],
                         const sg_onnx_attr *attrs);
const char *sg_onnx_node_of(sg_onnx *m, const char *op, const char *const in[],
                            const sg_onnx_attr *attrs, int n_out, const char **more);
/* The same of operators without attributes. */
#define SG_ONNX_OP(m, op, ...) sg_onnx_node(m, op, SG_ONNX_IN(__VA_ARGS__), NULL)

/* A line of the model's metadata; a key once. */
void sg_onnx_about(sg_onnx *m, const char *key, const char *value);
void sg_onnx_about_f(sg_onnx *m, const char *key, const char *fmt, ...) SG_PRINTF(3, 4);

/* All of it as bytes, the caller's (sg_free). Errors of sg_onnx_status; SG_ERR_UNSUPPORTED: beyond
 * the 2 GB of a protocol buffer. */
sg_status sg_onnx_pack(const sg_onnx *m, uint8_t **bytes, size_t *size) SG_CHECKED;

#endif
