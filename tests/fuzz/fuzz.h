/* Any bytes into the parsers: what libFuzzer calls (`make fuzz`, driver.c), and what test_fuzz.c
 * calls with the inputs in seeds/.
 *
 * An entry hands its input to a parser and checks what the parser promises: on success that the
 * result obeys its header file, on failure the code, one line of text, and results left alone.
 * fuzz_run checks for all of them that every block of memory was freed. A promise that is broken
 * ends the process with abort(), as a finding of the sanitizers does. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "data/dataset.h"
#include "data/layout.h"

typedef struct {
    const char *name;
    void (*run)(const uint8_t *data, size_t size);
} fuzz_entry;

const fuzz_entry *fuzz_entry_find(const char *name); /* NULL: no such entry */
void fuzz_run(const fuzz_entry *entry, const uint8_t *data, size_t size);

#define FUZZ_ENTRY(name, ...) void fuzz_##name(const uint8_t *data, size_t size);
#include "entries.def"
#undef FUZZ_ENTRY

#define FUZZ_CHECK(promise)                                                                        \
    do {                                                                                           \
        if (!(promise)) fuzz_broken(__FILE__, __LINE__, #promise);                                 \
    } while (0)
void fuzz_broken(const char *file, int line, const char *promise) __attribute__((noreturn));

/* Before the call that may fail: no text of an earlier failure, `out` of a known pattern. */
void fuzz_prepare(void *out, size_t size);
/* After it: `st` is the code `wanted`, the text is one line that starts with `start`, and `out` is
 * as fuzz_prepare left it. */
void fuzz_failed(sg_status st, sg_status wanted, const char *start, const void *out, size_t size);

/* Not empty, without control bytes. */
bool fuzz_is_line(const char *text);
/* The input with a NUL behind it, as sg_file_read gives it; the caller's (sg_free). */
char *fuzz_text(const uint8_t *data, size_t size);
/* Numbers within reach; clipped, it has an area within the picture or is refused. */
void fuzz_box(const double box[4], int64_t width, int64_t height);
/* Names that can be told apart and printed; clears them. */
void fuzz_classes(sg_classes *classes);
/* What reads a file of names: at least one of them, or SG_ERR_DATA with a line that begins with
 * `path` and a colon. */
typedef sg_status (*fuzz_names_parser)(const char *path, char *text, size_t size,
                                       sg_classes *classes);
void fuzz_file_of_names(fuzz_names_parser parse, const char *path, const uint8_t *data,
                        size_t size);
/* Counts faults in *n. */
sg_fault_sink fuzz_sink(int64_t *n);

#endif
