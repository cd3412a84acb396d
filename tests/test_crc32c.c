/* CRC32C: published values, and the instruction against the table. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "core/crc32c.h"
#include "core/philox.h"

/* RFC 3720, appendix B.4, and the customary check value of "123456789". */
static void test_published(void **state) {
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(sg_crc32c(0, "", 0), 0);
    assert_int_equal(sg_crc32c(0, "123456789", 9), 0xe3069283);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(sg_crc32c(0, bytes, sizeof bytes), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(sg_crc32c(0, bytes, sizeof bytes), 0x62a8ab43);
    for (int i = 0; i < 32; i++) bytes[i] = (uint8_t)i;
    assert_int_equal(sg_crc32c(0, bytes, sizeof bytes), 0x46dd794e);
    assert_int_equal(sg_crc32c_table(0, bytes, sizeof bytes), 0x46dd794e);
}

static void test_instruction_is_table(void **state) {
    uint8_t bytes[200];
    sg_random r = sg_random_init(7);

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)sg_random_u32(&r);
    for (size_t from = 0; from < 9; from++)
        for (size_t size = 0; size + from <= sizeof bytes; size++)
            assert_int_equal(sg_crc32c(17, bytes + from, size),
                             sg_crc32c_table(17, bytes + from, size));
}

static void test_pieces(void **state) {
    static const char text[] = "a checksum of pieces is the checksum of the whole";
    uint32_t whole = sg_crc32c(0, text, sizeof text);

    (void)state;
    for (size_t cut = 0; cut <= sizeof text; cut++)
        assert_int_equal(sg_crc32c(sg_crc32c(0, text, cut), text + cut, sizeof text - cut), whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_instruction_is_table),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
