/* The transport between GPUs on NCCL itself, where its plug-in was built: one member, whose peer
 * never comes. All else that can befall it: test_transport_nccl.c. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/threads.h"
#include "dist/transport.h"
#include "gpu/libraries.h"

/* The other member is on another GPU, as it says, and never comes. */
typedef struct {
    char said[SG_INTRODUCTION_BYTES];
    size_t bytes;
    double end; /* of waiting, on sg_now's clock */
} absent;

static sg_status say(void *context, const void *data, size_t bytes) {
    absent *a = context;

    memcpy(a->said, data, bytes);
    a->bytes = bytes;
    return SG_OK;
}

static sg_status hear(void *context, int rank, void *data, size_t capacity, size_t *bytes,
                      double seconds) {
    const absent *a = context;

    (void)rank;
    (void)seconds;
    assert_true(a->bytes > 0 && a->bytes <= capacity);
    memcpy(data, a->said, a->bytes);
    ((char *)data)[a->bytes - 1] ^= 1; /* the GPU's name is the last that is said */
    *bytes = a->bytes;
    return SG_OK;
}

static bool is_over(void *context) { return sg_now() >= ((const absent *)context)->end; }

/* One epoch that the deadline ends, one that is stopped, and so on: each begins anew after an
 * abort. Without a GPU CUDA says so. */
static void test_peer_is_absent(void **state) {
    bool on_gpu = getenv("REQUIRE_GPU") != NULL;
    char path[4096];

    (void)state;
    assert_int_equal(sg_program_folder(path, sizeof path - 32), SG_OK);
    strcat(path, "/libspotgrad_nccl.so");
    if (!sg_file_exists(path)) skip();
    for (int epoch = 0; epoch < 4; epoch++) {
        double start = sg_now(), took;
        absent peer = {.end = start + (epoch % 2 ? 1.0 : 30.0)};
        sg_transport_options o = {.size = 2,
                                  .epoch = epoch,
                                  .introduction = {&peer, say, hear, is_over},
                                  .seconds = epoch % 2 ? 30.0 : 2.0};
        sg_transport *t = NULL;
        sg_status st = sg_transport_nccl_create(&o, &t);

        took = sg_now() - start;
        printf("NCCL, one member, the other absent: %.3f s, %s: %s\n", took, sg_status_text(st),
               sg_last_error());
        if (st == SG_ERR_CUDA && !on_gpu) return;
        if (st != SG_ERR_UNAVAILABLE) fail_msg("%s", sg_last_error());
        assert_true(took >= (epoch % 2 ? 1.0 : 2.0));
        assert_true(took <= (epoch == 0 ? 10.0 : 4.0)); /* CUDA's start */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_peer_is_absent)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
