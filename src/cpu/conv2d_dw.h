/* Own kernels for the gradients of filters. */
#ifndef SG_CPU_CONV2D_DW_H
#define SG_CPU_CONV2D_DW_H

#include <stdbool.h>

#include "cpu/backend_cpu.h"

/* Whether they serve this conv2d_dw: 1x1, or 3x3 with padding 1 and stride 1 or 2; no groups. */
bool SG_BLOCKED(sg_cpu_own_dw)(const sg_node *node);
sg_status SG_BLOCKED(sg_cpu_plan_own_dw)(const sg_node *node, sg_kernel_plan *plan) SG_CHECKED;

#endif
