/* For tests of graphs and their programs. */
#ifndef SG_TESTS_GRAPH_FIXTURE_H
#define SG_TESTS_GRAPH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "graph/program.h"

static const sg_init kOne = {SG_INIT_CONSTANT, 1.0f};

static inline sg_graph *new_graph(sg_mode mode, sg_table *table) {
    sg_graph *g;

    assert_int_equal(sg_graph_create(mode, table, &g), SG_OK);
    return g;
}

static inline sg_program *compile(const sg_graph *g, const sg_backend *backend, bool keep_memory) {
    sg_compile_options o = {.keep_memory = keep_memory};
    sg_program *p;

    assert_int_equal(sg_program_compile(g, backend, &o, &p), SG_OK);
    return p;
}

static inline int conversions(const sg_program *p, bool prologue) {
    int n = 0;

    for (int i = 0; i < sg_program_steps(p); i++)
        n += sg_program_step(p, i).conversion && sg_program_step(p, i).prologue == prologue;
    return n;
}

#endif
