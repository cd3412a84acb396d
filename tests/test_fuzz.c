/* The entries of fuzz/ without libFuzzer: the inputs of fuzz/seeds/, and of each the neighbours, so
 * that no entry rots and no finding comes back. A broken promise aborts the program. */
#include "data_fixture.h"

#include <dirent.h>

#include "fuzz/fuzz.h"
#include "fuzz/png_mutator.h"

enum { kPath = 512, kMaxNeighbours = 1024 };

static const char kSeeds[] = "tests/fuzz/seeds";

/* A block of exactly `size` bytes, so that the sanitizers see what is read behind it. */
static void run_copy(const fuzz_entry *entry, const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);

    assert_non_null(copy);
    memcpy(copy, data, size);
    fuzz_run(entry, copy, size);
    free(copy);
}

/* The input cut off everywhere, and each byte changed. */
static void run_neighbours(const fuzz_entry *entry, uint8_t *data, size_t size) {
    static const uint8_t kChanges[] = {0x01, 0x80, 0xFF};

    for (size_t i = 0; i < size; i++) run_copy(entry, data, i);
    for (size_t i = 0; i < size; i++) {
        for (size_t k = 0; k < sizeof kChanges; k++) {
            data[i] ^= kChanges[k];
            run_copy(entry, data, size);
            data[i] ^= kChanges[k];
        }
    }
}

static void run_file(const fuzz_entry *entry, const char *path) {
    uint8_t *data;
    size_t size;

    print_message("%s\n", path);
    assert_ok(sg_file_read(path, 0, &data, &size));
    run_copy(entry, data, size);
    if (size <= kMaxNeighbours) run_neighbours(entry, data, size);
    sg_free(data);
}

static void replay(void **state) {
    const fuzz_entry *entry = fuzz_entry_find(*state);
    char folder[kPath], path[2 * kPath];
    struct dirent *file;
    int n = 0;
    DIR *open;

    snprintf(folder, sizeof folder, "%s/%s", kSeeds, entry->name);
    open = opendir(folder);
    if (!open) fail_msg("%s: no such folder", folder);
    while ((file = readdir(open)) != NULL) {
        if (file->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, file->d_name);
        run_file(entry, path);
        n++;
    }
    closedir(open);
    assert_true(n > 0);
    run_copy(entry, (const uint8_t *)"", 0);
}

static void seeds_have_entries(void **state) {
    DIR *open = opendir(kSeeds);
    struct dirent *folder;

    (void)state;
    assert_non_null(open);
    while ((folder = readdir(open)) != NULL)
        if (folder->d_name[0] != '.' && !fuzz_entry_find(folder->d_name))
            fail_msg("%s/%s: no entry has this name", kSeeds, folder->d_name);
    closedir(open);
}

/* --- the mutator of PNG --- */

static size_t touch_first(uint8_t *data, size_t size, size_t max_size) {
    assert_true(size > 1 && max_size >= size);
    data[1] ^= 0xFF; /* of rows: red of the first pixel; of a file: its signature */
    return size;
}

static void rows_are_mutated(void **state) {
    sg_image image = fixture_image(5, 4, 10, 20, 30), back;
    uint8_t buffer[1024], *png;
    size_t size;

    (void)state;
    assert_ok(sg_image_encode_png(&image, 1, &png, &size));
    assert_true(size <= sizeof buffer);
    memcpy(buffer, png, size);
    size = png_mutate(buffer, size, sizeof buffer, 2, touch_first);
    assert_ok(sg_image_decode("mutated", buffer, size, &back));
    assert_int_equal(back.rgb[0], 10 ^ 0xFF);
    assert_int_equal(back.rgb[1], 20);
    sg_image_clear(&back);
    memcpy(buffer, png, size);
    png_mutate(buffer, size, sizeof buffer, 1, touch_first); /* not mended */
    assert_int_equal(buffer[1], 'P' ^ 0xFF);
    png_mutate(buffer, size, sizeof buffer, 3, touch_first);
    assert_memory_equal(buffer, png, size);
    sg_free(png);
    sg_image_clear(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define FUZZ_ENTRY(name, ...) {#name, replay, NULL, NULL, (void *)(uintptr_t) #name},
#include "fuzz/entries.def"
#undef FUZZ_ENTRY
        cmocka_unit_test(seeds_have_entries),
        cmocka_unit_test(rows_are_mutated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
