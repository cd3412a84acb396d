/* Lists, class names, the VOC data set, its fingerprint, and the check that reports every fault. */
#include "data_fixture.h"

#include "core/threads.h"
#include "data/dataset.h"
#include "out_of_memory.h"

static void write_picture(const char *name, int width, int height, int grey) {
    sg_image image = fixture_image(width, height, grey, grey, grey);

    fixture_png(name, &image);
    sg_image_clear(&image);
}

/* Three pictures under `root`: a (two boxes), b (one, clipped), sub/c (none). */
static void write_three(const char *root) {
    char name[128];

    snprintf(name, sizeof name, "%s/images/a.png", root);
    write_picture(name, 40, 30, 10);
    snprintf(name, sizeof name, "%s/images/b.png", root);
    write_picture(name, 20, 50, 20);
    snprintf(name, sizeof name, "%s/images/sub/c.PNG", root);
    write_picture(name, 8, 8, 30);
}

static void write_three_annotations(const char *root) {
    static const struct {
        const char *name;
        int width, height;
        const char *objects;
    } files[] = {{"a", 40, 30, OBJECT("with", 1, 2, 11, 12) OBJECT("none", 5.5, 6, 30, 30)},
                 {"b", 20, 50, OBJECT("with", 10, 10, 21, 20)},
                 {"sub/c", 0, 0, ""}};

    for (int i = 0; i < 3; i++) {
        char text[2048], name[128];

        snprintf(text, sizeof text,
                 "<annotation>\n<size><width>%d</width><height>%d</height></size>\n%s"
                 "</annotation>\n",
                 files[i].width, files[i].height, files[i].objects);
        snprintf(name, sizeof name, "%s/annotations/%s.xml", root, files[i].name);
        fixture_text(name, text);
    }
}

static void classes_are_parsed(void **state) {
    sg_classes classes, copy;

    (void)state;
    assert_ok(sg_classes_parse(" with mask , none,c", &classes));
    assert_int_equal(classes.n, 3);
    assert_string_equal(classes.name[0], "with mask");
    assert_int_equal(sg_classes_find(&classes, "c"), 2);
    assert_int_equal(sg_classes_find(&classes, "d"), -1);
    assert_ok(sg_classes_copy(&classes, &copy));
    assert_string_equal(copy.name[1], "none");
    sg_classes_clear(&copy);
    sg_classes_clear(&classes);
    assert_fails(sg_classes_parse("a,,b", &classes), SG_ERR_CONFIG, "class 2 has an empty name");
    assert_fails(sg_classes_parse("", &classes), SG_ERR_CONFIG, "empty name");
    assert_fails(sg_classes_parse("a,b, a", &classes), SG_ERR_CONFIG, "`a` is named twice");
    assert_fails(sg_classes_parse("a, m\xE1scara", &classes), SG_ERR_CONFIG,
                 "class 2 has a name that is not UTF-8");
}

static void a_data_set_is_read(void **state) {
    char hex[SG_FINGERPRINT_BYTES], again[SG_FINGERPRINT_BYTES];
    sg_classes swapped;
    sg_dataset *d;

    (void)state;
    write_three("good");
    write_three_annotations("good");
    fixture_text("good/train.txt", "\xEF\xBB\xBF"
                                   "a\r\n\r\n  \n images/b.png \nsub/c");
    assert_ok(sg_dataset_read_voc(fixture_path("good"), "train.txt", NULL, &d));
    assert_int_equal(d->n, 3);
    assert_int_equal(d->n_boxes, 3);
    assert_int_equal(d->n_clipped, 1);
    assert_int_equal(d->classes.n, 2);
    assert_string_equal(d->classes.name[0], "none"); /* sorted */
    assert_string_equal(d->samples[1].name, "images/b.png");
    assert_int_equal(d->samples[1].width, 20);
    assert_int_equal(d->samples[1].height, 50);
    assert_int_equal(d->samples[0].count, 2);
    assert_int_equal(d->samples[0].classes[0], 1);
    assert_int_equal(d->samples[0].classes[1], 0);
    assert_true(d->samples[0].boxes[4] == 5.5f && d->samples[0].boxes[7] == 30.0f);
    assert_true(d->samples[1].boxes[2] == 20.0f); /* clipped */
    assert_int_equal(d->samples[2].count, 0);
    assert_int_equal(d->samples[2].width, 8); /* the XML says 0: not known */
    assert_int_equal(d->width_max, 40);
    assert_int_equal(d->height_max, 50);
    assert_ok(sg_dataset_fingerprint(d, hex));
    assert_int_equal(strlen(hex), 64);
    sg_dataset_destroy(d);

    assert_ok(sg_classes_parse("with,none", &swapped));
    assert_ok(sg_dataset_read_voc(fixture_path("good"), "train.txt", &swapped, &d));
    assert_int_equal(d->samples[0].classes[0], 0);
    assert_ok(sg_dataset_fingerprint(d, again));
    assert_string_not_equal(hex, again);
    sg_dataset_destroy(d);
    sg_classes_clear(&swapped);
}

static void expect_other(const sg_dataset *d, const char *hex) {
    char other[SG_FINGERPRINT_BYTES];

    assert_ok(sg_dataset_fingerprint(d, other));
    assert_string_not_equal(hex, other);
}

static void the_fingerprint_follows_the_boxes(void **state) {
    char hex[3][SG_FINGERPRINT_BYTES];
    sg_dataset *d;

    (void)state;
    write_three("moved");
    write_three_annotations("moved");
    fixture_text("moved/train.txt", "a\nb\n");
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            fixture_text("moved/annotations/b.xml",
                         "<annotation>" OBJECT("with", 10, 10, 19, 20) "</annotation>");
        assert_ok(sg_dataset_read_voc(fixture_path("moved"), "train.txt", NULL, &d));
        assert_ok(sg_dataset_fingerprint(d, hex[i]));
        if (i < 2) sg_dataset_destroy(d);
    }
    assert_string_equal(hex[0], hex[1]);
    assert_string_not_equal(hex[0], hex[2]);
    d->classes.name[0][0]++; /* and all else that training sees */
    expect_other(d, hex[2]);
    d->classes.name[0][0]--;
    d->samples[1].width++;
    expect_other(d, hex[2]);
    d->samples[1].width--;
    d->samples[1].height++;
    expect_other(d, hex[2]);
    d->samples[1].height--;
    d->box_classes[0] ^= 1;
    expect_other(d, hex[2]);
    d->box_classes[0] ^= 1;
    d->n--;
    expect_other(d, hex[2]);
    d->n++;
    assert_ok(sg_dataset_fingerprint(d, hex[0]));
    assert_string_equal(hex[0], hex[2]);
    sg_dataset_destroy(d);
}

static void faults_end_the_reading(void **state) {
    static const struct {
        const char *list, *xml; /* of b; NULL: as it was */
        sg_status status;
        const char *error;
    } cases[] = {
        {"", NULL, SG_ERR_DATA, "list.txt: the list is empty"},
        {"\n \r\n", NULL, SG_ERR_DATA, "the list is empty"},
        {"a\n\nnone\n", NULL, SG_ERR_MISSING, "list.txt:3: there is no picture images/none.png"},
        {"images/none.jpg", NULL, SG_ERR_MISSING, "list.txt:1: images/none.jpg: there is no"},
        {"a\nb\n\na\n", NULL, SG_ERR_DATA, "list.txt:4: the same picture as line 1"},
        {"a\x01\n", NULL, SG_ERR_DATA, "list.txt:1: has a control byte"},
        {"lone", NULL, SG_ERR_MISSING, "annotations/lone.xml"},
        {"broken", NULL, SG_ERR_DATA, "images/broken.png: is neither"},
        {"b", "<annotation>", SG_ERR_DATA, "annotations/b.xml:1: the XML is cut off"},
        {"b", "<annotation>\n" OBJECT("with", 1, 2, 1, 4) "</annotation>", SG_ERR_DATA,
         "annotations/b.xml:2: the box (1 2 1 4) has no area"},
        {"b", "<annotation>\n" OBJECT("with", 5, 2, 1, 4) "</annotation>", SG_ERR_DATA,
         "has no area"},
        {"b", "<annotation>\n" OBJECT("with", 20, 2, 30, 4) "</annotation>", SG_ERR_DATA,
         "b.xml:2: the box (20 2 30 4) is outside of the picture (20 x 50)"},
        {"b", "<annotation>\n\n" OBJECT("other", 1, 2, 3, 4) "</annotation>", SG_ERR_DATA,
         "b.xml:3: unknown class `other`"},
        {"b", "<annotation>\n<size><width>50</width><height>20</height></size></annotation>",
         SG_ERR_DATA, "b.xml:2: says 50 x 20 pixels, but"},
    };
    long live = sg_mem_live();
    sg_classes classes;
    sg_dataset *d;

    (void)state;
    write_three("bad");
    write_picture("bad/images/lone.png", 4, 4, 0);
    fixture_text("bad/images/broken.png", "not a picture at all");
    assert_ok(sg_classes_parse("with,none", &classes));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_three_annotations("bad");
        if (cases[i].xml) fixture_text("bad/annotations/b.xml", cases[i].xml);
        fixture_text("bad/list.txt", cases[i].list);
        assert_fails(sg_dataset_read_voc(fixture_path("bad"), "list.txt", &classes, &d),
                     cases[i].status, cases[i].error);
    }
    sg_classes_clear(&classes);
    assert_fails(sg_dataset_read_voc(fixture_path("bad"), "no.txt", NULL, &d), SG_ERR_MISSING,
                 "no.txt");
    fixture_text("bad/list.txt", "sub/c\n");
    assert_fails(sg_dataset_read_voc(fixture_path("bad"), "list.txt", NULL, &d), SG_ERR_DATA,
                 "no picture of it has a box");
    assert_int_equal(sg_mem_live(), live);
}

static void the_check_finds_every_fault(void **state) {
    static const char *const lists[] = {"train.txt", "val.txt", "empty.txt", "none.txt"};
    long live = sg_mem_live();
    sg_check_summary summary;
    sg_classes classes;
    fixture_report r = {0};

    (void)state;
    write_three("check");
    write_three_annotations("check");
    fixture_text("check/images/cut.png", "\x89PNG\r\n\x1a\n cut");
    fixture_text("check/annotations/cut.xml", "<annotation>" OBJECT("zzz", 1, 1, 2, 2));
    write_picture("check/images/twin.png", 40, 30, 10); /* the pixels of a */
    fixture_text("check/annotations/twin.xml",
                 "<annotation>\n<size><width>4</width><height>3</height></size>\n" OBJECT(
                     "with", 3, 3, 3, 9) OBJECT("odd", 50, 0, 60, 9) "</annotation>");
    fixture_text("check/train.txt", "a\nb\nmissing\ncut\nb\n");
    fixture_text("check/val.txt", "twin\nimages/b.png\nsub/c\n");
    fixture_text("check/empty.txt", "\n\n");
    assert_ok(sg_classes_parse("with,none", &classes));
    assert_ok(sg_dataset_check(&(sg_dataset_place){.root = fixture_path("check")}, lists, 4,
                               &classes, fixture_note, &r, &summary, NULL));
    sg_classes_clear(&classes);
    fixture_holds(&r, "b.xml:3: the box (10 10 21 20) reaches out of the picture (20 x 50)");
    fixture_holds(&r, "train.txt:3: there is no picture images/missing.png");
    fixture_holds(&r, "cut.png:0: ");
    fixture_holds(&r, "cut.xml:2: the XML is cut off");
    fixture_holds(&r, "train.txt:5: the same picture as");
    fixture_holds(&r, "val.txt:2: the same picture as");
    fixture_holds(&r, "twin.xml:2: says 4 x 3 pixels");
    fixture_holds(&r, "twin.xml:3: the box (3 3 3 9) has no area");
    fixture_holds(&r, "twin.xml:4: the box (50 0 60 9) is outside");
    fixture_holds(&r, "twin.xml:4: unknown class `odd`");
    fixture_holds(&r, "twin.png has the same pixels as");
    fixture_holds(&r, "empty.txt:0: the list is empty");
    fixture_holds(&r, "none.txt:0: no such list; write it");
    assert_int_equal(r.errors, 12);
    assert_int_equal(r.warnings, 3); /* b's box, once each time that b is listed */
    assert_int_equal(summary.errors, r.errors);
    assert_int_equal(summary.warnings, r.warnings);
    assert_int_equal(summary.pictures, 8);
    assert_int_equal(sg_mem_live(), live);
}

static void a_good_data_set_has_no_fault(void **state) {
    static const char *const lists[] = {"train.txt"};
    sg_check_summary summary;

    (void)state;
    write_three("fine");
    write_three_annotations("fine");
    fixture_text("fine/train.txt", "a\nsub/c\n");
    assert_ok(sg_dataset_check(&(sg_dataset_place){.root = fixture_path("fine")}, lists, 1, NULL,
                               NULL, NULL, &summary, NULL));
    assert_int_equal(summary.errors + summary.warnings, 0);
    assert_int_equal(summary.pictures, 2);
    assert_int_equal(summary.boxes, 2);
}

static void memory_may_fail_anywhere(void **state) {
    static const char *const lists[] = {"train.txt", "train.txt"};
    long live = sg_mem_live();
    sg_check_summary summary;
    sg_dataset *d = NULL;
    char *table;

    (void)state;
    write_three("memory");
    write_three_annotations("memory");
    fixture_text("memory/train.txt", "a\nb\nsub/c\n");
    FAIL_EACH_ALLOCATION(sg_dataset_read_voc(fixture_path("memory"), "train.txt", NULL, &d), 100);
    sg_dataset_destroy(d);
    FAIL_EACH_ALLOCATION(sg_dataset_check(&(sg_dataset_place){.root = fixture_path("memory")},
                                          lists, 2, NULL, NULL, NULL, &summary, &table),
                         100);
    sg_free(table);
    assert_int_equal(sg_mem_live(), live);
    assert_int_equal(summary.errors, 3); /* each name is in both lists */
}

/* What the README of the real data says. */
static void real_data_is_as_described(void **state) {
    static const char *const lists[] = {"train.txt", "val.txt"};
    const char *folder = getenv("SPOTGRAD_DATA");
    sg_dataset *train, *val;
    sg_check_summary summary;
    fixture_report r = {0};
    char root[512];
    int64_t of_class[3] = {0};

    (void)state;
    if (!folder) skip();
    snprintf(root, sizeof root, "%s/masks", folder);
    assert_ok(sg_dataset_read_voc(root, "train.txt", NULL, &train));
    assert_ok(sg_dataset_read_voc(root, "val.txt", &train->classes, &val));
    assert_int_equal(train->n, 580);
    assert_int_equal(train->n_boxes, 2797);
    assert_int_equal(val->n, 102);
    assert_int_equal(val->n_boxes, 487);
    assert_int_equal(train->classes.n, 3);
    assert_string_equal(train->classes.name[0], "mask_weared_incorrect");
    assert_string_equal(train->classes.name[1], "with_mask");
    for (int64_t i = 0; i < train->n_boxes; i++) of_class[train->box_classes[i]]++;
    assert_int_equal(of_class[0], 84);
    assert_int_equal(of_class[1], 2233);
    assert_int_equal(of_class[2], 480);
    assert_true(train->n_clipped + val->n_clipped <= 12);
    assert_ok(sg_dataset_check(&(sg_dataset_place){.root = root}, lists, 2, NULL, fixture_note, &r,
                               &summary, NULL));
    assert_int_equal(summary.pictures, 682);
    assert_int_equal(summary.boxes, 3284);
    assert_int_equal(summary.errors, 0); /* nothing broken, nothing in both lists */
    fixture_holds(&r, "maksssksksss603.xml:1285: the box (397 132 401 142) reaches out");
    fixture_holds(&r, "has the same pixels as"); /* identical pairs, within one list */
    sg_dataset_destroy(train);
    sg_dataset_destroy(val);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_are_parsed),
        cmocka_unit_test(a_data_set_is_read),
        cmocka_unit_test(the_fingerprint_follows_the_boxes),
        cmocka_unit_test(faults_end_the_reading),
        cmocka_unit_test(the_check_finds_every_fault),
        cmocka_unit_test(a_good_data_set_has_no_fault),
        cmocka_unit_test(memory_may_fail_anywhere),
        cmocka_unit_test(real_data_is_as_described),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
