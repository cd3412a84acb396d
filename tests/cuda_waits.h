/* The CUDA device, that counts how often the host waits. Included once by a test program. */
#ifndef SG_TESTS_CUDA_WAITS_H
#define SG_TESTS_CUDA_WAITS_H

#include "backend_cuda.h"

static int queue_waits, event_waits;

static inline sg_status wait_counted(void *queue) {
    queue_waits++;
    return sg_cuda_device.wait(queue);
}

static inline sg_status event_wait_counted(void *event) {
    event_waits++;
    return sg_cuda_device.event_wait(event);
}

static inline sg_device counting_device(void) {
    sg_device device = sg_cuda_device;

    device.wait = wait_counted;
    device.event_wait = event_wait_counted;
    return device;
}

#endif
