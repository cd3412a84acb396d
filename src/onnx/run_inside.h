/* What the files of the interpreter share. */
#ifndef SG_ONNX_RUN_INSIDE_H
#define SG_ONNX_RUN_INSIDE_H

#include "onnx.pb-c.h"
#include "onnx/run.h"

/* Elements of any type, as doubles. */
typedef struct {
    int type; /* sg_onnx_type */
    int rank;
    int64_t dim[SG_ONNX_RANK];
    int64_t count;
    double *v; /* (count), owned */
} sg_onnx_run_tensor;

enum { SG_RUN_INPUTS = 256, SG_RUN_OUTPUTS = 2 };

typedef struct {
    const Onnx__NodeProto *node;
    const sg_onnx_run_tensor *in[SG_RUN_INPUTS]; /* NULL: left out */
    int n_in;
    sg_onnx_run_tensor out[SG_RUN_OUTPUTS]; /* zeroed before */
} sg_onnx_run_call;

typedef sg_status (*sg_onnx_run_op)(sg_onnx_run_call *c);
/* Each file's operators, ended by one without a name. */
typedef struct {
    const char *name;
    sg_onnx_run_op run;
} sg_onnx_run_entry;
extern const sg_onnx_run_entry sg_onnx_run_math[], sg_onnx_run_pictures[], sg_onnx_run_shapes[],
    sg_onnx_run_best[];

/* "NODE (OP): TEXT" */
sg_status sg_onnx_run_fail(const sg_onnx_run_call *c, const char *fmt, ...) SG_PRINTF(2, 3);
/* Input i is there. */
sg_status sg_onnx_run_need(const sg_onnx_run_call *c, int n) SG_CHECKED;
/* Output o, zeroed, of a shape that is checked. */
sg_status sg_onnx_run_make(sg_onnx_run_call *c, int o, int type, int rank,
                           const int64_t *dim) SG_CHECKED;

int64_t sg_onnx_run_int(const sg_onnx_run_call *c, const char *name, int64_t otherwise);
double sg_onnx_run_float(const sg_onnx_run_call *c, const char *name, double otherwise);
/* The list, or NULL; *n is its length. */
const int64_t *sg_onnx_run_ints(const sg_onnx_run_call *c, const char *name, int *n);
/* Whether the text attribute is `value`; so it is where there is none and `otherwise` is it. */
bool sg_onnx_run_is(const sg_onnx_run_call *c, const char *name, const char *otherwise,
                    const char *value);
/* `axis` of a tensor of that rank, counted from the end where it is negative. */
sg_status sg_onnx_run_axis(const sg_onnx_run_call *c, int64_t axis, int rank, int *out) SG_CHECKED;

/* Of two, a NaN being the greatest. */
double sg_onnx_run_greatest(double x, double y);
/* Elements from dimension `from` to before `to`. */
int64_t sg_onnx_run_count(const sg_onnx_run_tensor *t, int from, int to);
/* The shape that two broadcast to; false: they do not. */
bool sg_onnx_run_broadcast(const sg_onnx_run_tensor *a, const sg_onnx_run_tensor *b, int *rank,
                           int64_t *dim);
/* Which element of `t` stands at `index` (rank) of a shape that it is broadcast to. */
int64_t sg_onnx_run_at(const sg_onnx_run_tensor *t, int rank, const int64_t *index);
/* The next index of a shape, the last dimension first. */
void sg_onnx_run_next(int rank, const int64_t *dim, int64_t *index);

#endif
