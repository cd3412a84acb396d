/* The kernels that were chosen, as text: a line a plan, "KEY\tCHOICE", in the order of choosing.
 * The key of an operation says all that its choice depends on beside the device and the versions
 * of the libraries, which are part of the run's numeric class. */
#ifndef SG_CUDA_PLAN_TABLE_H
#define SG_CUDA_PLAN_TABLE_H

#include "vendor/vendor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_PLAN_KEY = 256, SG_PLAN_CHOICE = 320 }; /* bytes, with the 0 */

void sg_plan_key_conv(const sg_vendor_conv *conv, char key[SG_PLAN_KEY]);
void sg_plan_key_matmul(const sg_vendor_matmul *matmul, char key[SG_PLAN_KEY]);

typedef struct sg_plan_table sg_plan_table;

/* `text` may be NULL. SG_ERR_DATA: a line is not "KEY\tCHOICE", or a key is there twice. */
sg_status sg_plan_table_create(const char *text, sg_plan_table **out) SG_CHECKED;
void sg_plan_table_destroy(sg_plan_table *t); /* NULL is fine */
/* False: it is not there. */
bool sg_plan_table_find(const sg_plan_table *t, const char *key, char choice[SG_PLAN_CHOICE]);
/* The key is not there yet; both are copied. */
sg_status sg_plan_table_add(sg_plan_table *t, const char *key, const char *choice) SG_CHECKED;
/* The caller's, for sg_free; NULL: no memory. */
char *sg_plan_table_text(const sg_plan_table *t);

#ifdef __cplusplus
}
#endif
#endif
