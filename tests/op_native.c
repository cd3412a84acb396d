#include "op_check.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/cpu.h"

static void no_avx512(void **state) {
    (void)state;
    skip();
}

static int run_child(int (*group)(void)) {
    const struct CMUnitTest nothing[] = {
        cmocka_unit_test_prestate(no_avx512, NULL),
    };

    if (sg_cpu_set_isa("native") != SG_OK) return 1;
    if (sg_cpu_block() == 16) return group();
    return cmocka_run_group_tests_name("native: no AVX-512", nothing, NULL, NULL);
}

int op_run_native(int (*group)(void)) {
    int result = -1;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    if (child == 0) exit(run_child(group));
    if (child < 0 || waitpid(child, &result, 0) != child) return 1;
    return result != 0; /* a signal too */
}
