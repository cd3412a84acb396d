/* VOC annotations: what is read, and what is refused. */
#include "data_fixture.h"

#include "data/voc.h"
#include "out_of_memory.h"

static sg_status parse(const char *text, sg_voc *voc) {
    return sg_voc_parse("a.xml", text, strlen(text), voc);
}

#define BOX(x0, y0, x1, y1)                                                                        \
    "<bndbox><xmin>" x0 "</xmin><ymin>" y0 "</ymin><xmax>" x1 "</xmax><ymax>" y1 "</ymax></"       \
    "bndbox>"
#define WRAP(inside) "<annotation>\n" inside "</annotation>\n"

static const char sample[] =
    "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<annotation "
    "verified=\"yes\">\n<filename>x</filename>\n"
    "<size>\n<width> 400 </width><height>300</height><depth>3</depth></size>\n"
    "<object><name> with_mask </name><pose>Left</pose>\n"
    "<part><name>head</name>" BOX("1", "2", "3", "4") "</part>\n" BOX(
        "10", "20.25", "+30",
        "40.5") "</object>\n"
                "<object>" BOX("-1", "0", ".5",
                               "1e9") "<name>a&amp;b</name></object>\n</annotation>\n";

static void a_file_is_read(void **state) {
    char text[sizeof sample];
    sg_voc voc;

    (void)state;
    strcpy(text, sample);
    memcpy(strstr(text, "1e9"), "7. ", 3);
    assert_ok(parse(text, &voc));
    assert_int_equal(voc.width, 400);
    assert_int_equal(voc.height, 300);
    assert_int_equal(voc.size_line, 4);
    assert_int_equal(voc.n, 2);
    assert_string_equal(voc.objects[0].name, "with_mask");
    assert_string_equal(voc.objects[1].name, "a&b");
    assert_int_equal(voc.objects[0].line, 6);
    assert_true(voc.objects[0].box[0] == 10.0 && voc.objects[0].box[1] == 20.25);
    assert_true(voc.objects[0].box[2] == 30.0 && voc.objects[0].box[3] == 40.5);
    assert_true(voc.objects[1].box[0] == -1.0 && voc.objects[1].box[2] == 0.5);
    assert_true(voc.objects[1].box[3] == 7.0);
    sg_voc_clear(&voc);
    assert_ok(parse("<annotation/>", &voc));
    assert_int_equal(voc.n, 0);
    assert_int_equal(voc.width, 0);
    sg_voc_clear(&voc);
}

static void bad_fields_are_named_with_their_line(void **state) {
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "a.xml: is empty"},
        {"no xml", "a.xml:1: not valid XML"},
        {"<html></html>", "a.xml:1: <html> is not a VOC <annotation>"},
        {WRAP("<object>" BOX("1", "2", "3", "4") "</object>"), "a.xml:2: an object without <name>"},
        {WRAP("\n<object><name>a</name></object>"), "a.xml:3: an object without <bndbox>"},
        {WRAP("<object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><ymax>1</ymax></bndbox>"
              "</object>"),
         "a.xml:2: an object without <xmax>"},
        {WRAP("<object><name> </name>" BOX("1", "2", "3", "4") "</object>"), "empty <name>"},
        {WRAP("<object><name>a\nb</name>" BOX("1", "2", "3", "4") "</object>"),
         "a.xml:3: <name> has a control byte"},
        {WRAP("<object><name>a&#x7f;</name>" BOX("1", "2", "3", "4") "</object>"), "control byte"},
        {WRAP("<object><name>a</name>" BOX("1\n2", "2", "3", "4") "</object>"),
         "a.xml:3: <xmin> is `1?2`, not a number"},
        {WRAP("<object><name>a</name>" BOX("1", "x", "3", "4") "</object>"),
         "a.xml:2: <ymin> is `x`, not a number"},
        {WRAP("<object><name>a</name>" BOX("1", "", "3", "4") "</object>"), "<ymin> is ``"},
        {WRAP("<object><name>a</name>" BOX("nan", "1", "3", "4") "</object>"), "`nan`"},
        {WRAP("<object><name>a</name>" BOX("1,5", "1", "3", "4") "</object>"), "`1,5`"},
        {WRAP("<object><name>a</name>" BOX("0x10", "1", "3", "4") "</object>"), "`0x10`"},
        {WRAP("<object><name>a</name>" BOX("1", "1", "1e9", "4") "</object>"), "`1e9`"},
        {WRAP("<object><name>a</name>" BOX("1", "1", "99999999999999999999", "4") "</object>"),
         "out of range"},
        {WRAP("<object><name>a</name><name>b</name></object>"), "a second <name>"},
        {WRAP("<object><name>a<b/>c</name></object>"), "<b> inside <name>"},
        {WRAP("<size><width>4</width></size>"), "<size> without <height>"},
        {WRAP("<size><width>4.5</width><height>1</height></size>"), "not a whole number"},
        {WRAP("<size><width>-4</width><height>1</height></size>"), "out of range"},
        {WRAP("<size><width>4</width><height>1</height></size>\n<size/>"),
         "a.xml:3: a second <size>"},
        {"<annotation><object></annotation>", "mismatched tag"},
        {"<annotation>&nothing;</annotation>", "undefined entity"},
    };
    long live = sg_mem_live();
    sg_voc voc;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(parse(cases[i].text, &voc), SG_ERR_DATA, cases[i].error);
        assert_int_equal(sg_mem_live(), live);
    }
}

static void attacks_are_refused(void **state) {
    static const char laughs[] = "<?xml version=\"1.0\"?>\n<!DOCTYPE annotation [<!ENTITY a "
                                 "\"ha\"><!ENTITY b \"&a;&a;\">]>\n"
                                 "<annotation>&b;</annotation>";
    static const char outside[] =
        "<!DOCTYPE annotation SYSTEM \"file:///etc/passwd\"><annotation></annotation>";
    long live = sg_mem_live();
    char *text = malloc(SG_VOC_MAX_BYTES + 2), *p;
    sg_voc voc;

    (void)state;
    assert_non_null(text);
    assert_fails(parse(laughs, &voc), SG_ERR_DATA, "a.xml:2: a DOCTYPE");
    assert_fails(parse(outside, &voc), SG_ERR_DATA, "DOCTYPE");
    for (int depth = SG_VOC_MAX_DEPTH; depth <= SG_VOC_MAX_DEPTH + 1; depth++) {
        p = text + sprintf(text, "<annotation>");
        for (int i = 1; i < depth; i++) p += sprintf(p, "<a>");
        for (int i = 1; i < depth; i++) p += sprintf(p, "</a>");
        sprintf(p, "</annotation>");
        if (depth == SG_VOC_MAX_DEPTH)
            assert_ok(parse(text, &voc));
        else
            assert_fails(parse(text, &voc), SG_ERR_DATA, "nested deeper than 64");
    }
    p = text + sprintf(text, "<annotation>");
    for (int i = 0; i < 100000; i++) p += sprintf(p, "<a>");
    assert_fails(parse(text, &voc), SG_ERR_DATA, "nested deeper than 64");
    p = text + sprintf(text, "<annotation><object><name>");
    memset(p, 'a', 1 << 20);
    strcpy(p + (1 << 20), "</name></object></annotation>");
    assert_fails(parse(text, &voc), SG_ERR_DATA, "longer than 256 bytes");
    memset(text, ' ', SG_VOC_MAX_BYTES + 1);
    assert_fails(sg_voc_parse("a.xml", text, SG_VOC_MAX_BYTES + 1, &voc), SG_ERR_DATA,
                 "larger than");
    fixture_write("large.xml", text, SG_VOC_MAX_BYTES + 1);
    assert_fails(sg_voc_read(fixture_path("large.xml"), &voc), SG_ERR_DATA, "larger than 16777216");
    p = text + sprintf(text, "<annotation>");
    for (int i = 0; i <= SG_VOC_MAX_OBJECTS; i++)
        p += sprintf(p, "<object><name>a</name>" BOX("1", "2", "3", "4") "</object>\n");
    sprintf(p, "</annotation>");
    assert_fails(parse(text, &voc), SG_ERR_DATA, "more than 65536 objects");
    free(text);
    assert_int_equal(sg_mem_live(), live);
}

static void a_cut_file_is_refused(void **state) {
    static const char whole[] =
        "<annotation><size><width>4</width><height>3</height></size>\n<object><name>a</name>" BOX(
            "1", "2", "3", "4") "</object><!-- end --></annotation>";
    long live = sg_mem_live();
    sg_voc voc;

    (void)state;
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        assert_int_equal(sg_voc_parse("a.xml", whole, n, &voc), SG_ERR_DATA);
        assert_int_equal(strncmp(sg_last_error(), "a.xml:", 6), 0);
        if (n > 12) assert_non_null(strstr(sg_last_error(), "cut off"));
        assert_int_equal(sg_mem_live(), live);
    }
    assert_ok(sg_voc_parse("a.xml", whole, sizeof whole - 1, &voc));
    sg_voc_clear(&voc);
    assert_fails(sg_voc_read(fixture_path("none.xml"), &voc), SG_ERR_MISSING, "none.xml");
}

static void memory_may_fail_anywhere(void **state) {
    long live = sg_mem_live();
    char text[sizeof sample];
    sg_voc voc;

    (void)state;
    strcpy(text, sample);
    memcpy(strstr(text, "1e9"), "700", 3);
    FAIL_EACH_ALLOCATION(parse(text, &voc), 30);
    sg_voc_clear(&voc);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(bad_fields_are_named_with_their_line),
        cmocka_unit_test(attacks_are_refused),
        cmocka_unit_test(a_cut_file_is_refused),
        cmocka_unit_test(memory_may_fail_anywhere),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
