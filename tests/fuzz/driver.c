/* What libFuzzer calls: one program for all entries, `fuzz --entry=NAME [libFuzzer's own] FOLDER`
 * (libFuzzer leaves arguments with two dashes alone). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "png_mutator.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static const fuzz_entry *entry;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static const char option[] = "--entry=";

    for (int i = 1; i < *argc; i++)
        if (strncmp((*argv)[i], option, strlen(option)) == 0)
            entry = fuzz_entry_find((*argv)[i] + strlen(option));
    if (entry) return 0;
    fprintf(stderr, "usage: fuzz --entry=NAME [option]... [FILE|FOLDER]...; the names are in "
                    "tests/fuzz/entries.def\n");
    exit(64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_run(entry, data, size);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    if (strcmp(entry->name, "png") == 0)
        return png_mutate(data, size, max_size, seed, LLVMFuzzerMutate);
    return LLVMFuzzerMutate(data, size, max_size);
}
