/* The same pictures as VOC, YOLO and COCO; what each reader refuses; the check of each. */
#include "data_fixture.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <sys/stat.h>

#include "data/coco.h"
#include "data/dataset.h"
#include "data/source.h"
#include "data/yolo.h"
#include "out_of_memory.h"

static void write_picture(const char *name, int width, int height, int grey) {
    sg_image image = fixture_image(width, height, grey, grey, grey);

    fixture_png(name, &image);
    sg_image_clear(&image);
}

static const char *const good_json =
    "{\"info\": {}, \"images\": [\n"
    " {\"id\": 9, \"file_name\": \"images/train/a.png\", \"width\": 64, \"height\": 32},\n"
    " {\"id\": 4, \"file_name\": \"images/train/b.png\"},\n"
    " {\"id\": -1, \"file_name\": \"images/train/c.png\", \"width\": 16, \"height\": 16}],\n"
    "\"annotations\": [\n"
    " {\"id\": 3, \"image_id\": 4, \"category_id\": 90, \"bbox\": [0, 0, 16, 8.0], "
    "\"iscrowd\": 0},\n"
    " {\"id\": 1, \"image_id\": 9, \"category_id\": 7, \"bbox\": [8, 4, 16, 8], "
    "\"segmentation\": [[1, 2]]},\n"
    " {\"id\": 5, \"image_id\": 9, \"category_id\": 7, \"bbox\": [1, 1, 2, 2], \"iscrowd\": 1},\n"
    " {\"id\": 2, \"image_id\": 9, \"category_id\": 90, \"bbox\": [1.5, 2, 61.5, 30]}],\n"
    "\"categories\": [{\"id\": 90, \"name\": \"none\"}, {\"id\": 7, \"name\": \"with\", "
    "\"supercategory\": \"x\"}]}\n";

/* Three pictures under `root`, the same boxes in all formats; sides are powers of two, so that
 * YOLO's shares are exact. */
static void write_all(const char *root) {
    static const struct {
        const char *name, *text;
    } files[] = {
        {"annotations/train/a.xml",
         "<annotation><size><width>64</width><height>32</height></size>" //
         OBJECT("with", 8, 4, 24, 12) OBJECT("none", 1.5, 2, 63, 32) "</annotation>"},
        {"annotations/train/b.xml", "<annotation>" OBJECT("none", 0, 0, 16, 8) "</annotation>"},
        {"annotations/train/c.xml", "<annotation></annotation>"},
        {"labels/train/a.txt",
         "0 0.25 0.25 0.25 2.5e-1\r\n\n1\t0.50390625 0.53125 0.9609375 .9375"},
        {"labels/train/b.txt", "1 0.25 0.0625 0.5 +1.25E-01\n"},
        {"data.yaml", "# ours\ntrain: images/train\nnc: 2\nnames: [with, 'none']\n"},
        {"list.txt", "images/train/a.png\n./images/train/b.png\nimages/train/c.png\n"},
        {"voc.txt", "images/train/a.png\nimages/train/b.png\nimages/train/c.png\n"},
    };
    char path[256];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", root, files[i].name);
        fixture_text(path, files[i].text);
    }
    snprintf(path, sizeof path, "%s/set.json", root);
    fixture_text(path, good_json);
    snprintf(path, sizeof path, "%s/images/train/a.png", root);
    write_picture(path, 64, 32, 10);
    snprintf(path, sizeof path, "%s/images/train/b.png", root);
    write_picture(path, 32, 64, 20);
    snprintf(path, sizeof path, "%s/images/train/c.png", root);
    write_picture(path, 16, 16, 30);
}

/* Good until the next call. */
static sg_dataset_place place_of(sg_data_format format, const char *root) {
    static char path[512];

    snprintf(path, sizeof path, "%s", fixture_path(root));
    return (sg_dataset_place){.format = format, .root = path};
}

static void all_formats_agree(void **state) {
    static const struct {
        sg_data_format format;
        const char *list;
    } cases[] = {{SG_FORMAT_VOC, "voc.txt"},
                 {SG_FORMAT_YOLO, "list.txt"},
                 {SG_FORMAT_YOLO, "images/train"},
                 {SG_FORMAT_YOLO, "images/train/"},
                 {SG_FORMAT_COCO, "set.json"}};
    char first[SG_FINGERPRINT_BYTES], hex[SG_FINGERPRINT_BYTES];
    sg_classes classes;
    sg_dataset *d;

    (void)state;
    write_all("same");
    assert_ok(sg_classes_parse("with,none", &classes));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sg_dataset_place place = place_of(cases[i].format, "same");

        assert_ok(sg_dataset_read(&place, cases[i].list, &classes, &d));
        assert_int_equal(d->n, 3);
        assert_int_equal(d->n_boxes, 3);
        assert_int_equal(d->n_clipped, 0);
        assert_int_equal(d->n_crowd, cases[i].format == SG_FORMAT_COCO);
        assert_int_equal(d->n_unlabelled, cases[i].format == SG_FORMAT_YOLO);
        assert_string_equal(d->samples[1].name, "images/train/b.png");
        assert_true(d->samples[0].boxes[0] == 8.0f && d->samples[0].boxes[4] == 1.5f);
        assert_ok(sg_dataset_fingerprint(d, i ? hex : first));
        if (i) assert_string_equal(hex, first);
        sg_dataset_destroy(d);
    }
    sg_classes_clear(&classes);
}

static void classes_have_an_order(void **state) {
    static const struct {
        sg_data_format format;
        const char *list, *first;
    } cases[] = {{SG_FORMAT_VOC, "voc.txt", "none"},
                 {SG_FORMAT_YOLO, "list.txt", "with"},  /* data.yaml's */
                 {SG_FORMAT_COCO, "set.json", "with"}}; /* 7 before 90 */
    sg_classes classes;
    sg_dataset *d;

    (void)state;
    write_all("order");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sg_dataset_place place = place_of(cases[i].format, "order");

        assert_ok(sg_dataset_read(&place, cases[i].list, NULL, &d));
        assert_string_equal(d->classes.name[0], cases[i].first);
        assert_string_equal(d->classes.name[d->samples[0].classes[0]], "with");
        sg_dataset_destroy(d);
    }
    /* data.classes turns them round */
    assert_ok(sg_classes_parse("none,with", &classes));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sg_dataset_place place = place_of(cases[i].format, "order");

        assert_ok(sg_dataset_read(&place, cases[i].list, &classes, &d));
        assert_int_equal(d->samples[0].classes[0], 1);
        sg_dataset_destroy(d);
    }
    sg_classes_clear(&classes);
    /* without data.yaml the given names are the labels' numbers */
    assert_int_equal(remove(fixture_path("order/data.yaml")), 0);
    sg_dataset_place place = place_of(SG_FORMAT_YOLO, "order");
    assert_fails(sg_dataset_read(&place, "list.txt", NULL, &d), SG_ERR_MISSING,
                 "order/data.yaml: no such file; write it");
    assert_ok(sg_classes_parse("x,y", &classes));
    assert_ok(sg_dataset_read(&place, "list.txt", &classes, &d));
    assert_int_equal(d->samples[0].classes[0], 0);
    sg_dataset_destroy(d);
    sg_classes_clear(&classes);
}

static void label_lines_are_read(void **state) {
    char text[] = "2 0.5 0.5 1.0000001 1\n0.0 0.1 0.1 0.2 0.2\n1 1e-1 0.5 0.000001e5 1e-400\n"
                  "1 0.123456789012345678 0.5 0.2 0.1";
    const sg_fault_sink sink = {0};
    sg_yolo_box *boxes;
    int64_t n;

    (void)state;
    assert_ok(sg_yolo_parse("x", text, strlen(text), 400, 300, 3, &sink, &boxes, &n));
    assert_int_equal(n, 4);
    assert_true(boxes[0].box[0] == 0.0 && boxes[0].box[2] == 400.0); /* rounding is no overhang */
    assert_int_equal(boxes[1].category, 0);
    assert_int_equal(boxes[1].line, 2);
    assert_true(fabs(boxes[2].box[2] - 60.0) < 1e-9);
    assert_true(boxes[2].box[1] == boxes[2].box[3]);
    assert_true(fabs(boxes[3].box[2] + boxes[3].box[0] - 2 * 400 * 0.123456789012345678) < 1e-9);
    sg_free(boxes);
}

static void label_faults_are_told(void **state) {
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"0 0.5 0.5 0.1", "l.txt:1: 4 numbers; a box has five"},
        {"\n0 0.5 0.5 0.1 0.1 0.2 0.3\n",
         "l.txt:2: 7 numbers; a box has five (class cx cy w h). P"},
        {"0 0.5 nan 0.1 0.1", "l.txt:1: `nan` is not a number"},
        {"0 0.5 inf 0.1 0.1", "`inf` is not a number"},
        {"0 0.5 0,5 0.1 0.1", "`0,5` is not a number"},
        {"0 0.5 1e 0.1 0.1", "`1e` is not a number"},
        {"0 0.5 0x1 0.1 0.1", "`0x1` is not a number"},
        {"face 0.5 0.5 0.1 0.1", "`face` is not a number"},
        {"3 0.5 0.5 0.1 0.1", "unknown class 3; there are 3 names, from 0 to 2"},
        {"-1 0.5 0.5 0.1 0.1", "class -1 is not a whole number"},
        {"1.5 0.5 0.5 0.1 0.1", "class 1.5 is not a whole number"},
        {"1e99 0.5 0.5 0.1 0.1", "class 1e+99 is not a whole number"},
        {"1 0.5 -0.5 0.1 0.1", "l.txt:1: cy is -0.5, not from 0 to 1"},
        {"1 120 80 40 40", "cx is 120, not from 0 to 1: numbers are shares"},
        {"1 0.5 0.5 1e300 0.1", "w is 1e+300, not from 0 to 1"},
        {"1 0.5 0.5 0.1 \x02", "l.txt:1: has a control byte"},
    };
    const sg_fault_sink sink = {0};
    long live = sg_mem_live();
    sg_yolo_box *boxes;
    char text[128];
    int64_t n;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        strcpy(text, cases[i].text);
        assert_fails(sg_yolo_parse("l.txt", text, strlen(text), 64, 64, 3, &sink, &boxes, &n),
                     SG_ERR_DATA, cases[i].error);
    }
    assert_int_equal(sg_mem_live(), live);
}

static void names_are_read(void **state) {
    static const char *const cases[] = {
        "names: [a, b c, d]",
        "\xEF\xBB\xBFnames: [ 'a', \"b c\", d ] # three\r\nnc: 3\r\n",
        "path: ../x\ntrain: names: no\nnames:   # here\n- a\n- b c # not d\n\n# pause\n- d\nnc: "
        "3\n",
        "names:\n    2: d\n    0: 'a'\n    1: \"b c\"\nnc: 3",
        "nc: 3\nnames: {0: a,\n  1: b c,\n  2: d,}\n",
        "nested:\n  names: [x]\nnames: [a,\n # b\n b c,\n d\n]\n",
        "names:\n  - a\n  - b c\n  - d\n---\n",
    };
    sg_classes names;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];

        strcpy(text, cases[i]);
        assert_ok(sg_yolo_parse_names("data.yaml", text, strlen(text), &names));
        assert_int_equal(names.n, 3);
        assert_string_equal(names.name[0], "a");
        assert_string_equal(names.name[1], "b c");
        assert_string_equal(names.name[2], "d");
        sg_classes_clear(&names);
    }
    char odd[] = "names: ['it''s', C#, a:b]";
    assert_ok(sg_yolo_parse_names("data.yaml", odd, strlen(odd), &names));
    assert_string_equal(names.name[0], "it's");
    assert_string_equal(names.name[1], "C#");
    assert_string_equal(names.name[2], "a:b");
    sg_classes_clear(&names);
}

static void bad_names_are_refused(void **state) {
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "data.yaml: has no `names`"},
        {"nc: 1\nname: [a]\n", "has no `names`"},
        {"names: []\n", "`names` is empty"},
        {"names:\nnc: 2\n", "`names` is empty"},
        {"names: a\n", "data.yaml:1: `names` is neither a list nor numbered; write"},
        {"x: 1\nnames: [a, b\n", "a bracket that does not close"},
        {"names: [a, [b]]\n", "brackets in brackets"},
        {"names: [a b, 'c]\n", "a quote that does not end"},
        {"names: [\"a\\n\"]\n", "an escape in double quotes"},
        {"names: [a,,b]\n", "an empty name"},
        {"names: ['a' 'b']\n", "no comma between"},
        {"names: [a] b\n", "more behind the bracket"},
        {"names: &x [a]\n", "`names` is neither"},
        {"names:\n- *x\n", "data.yaml:2: YAML that is not read here"},
        {"names:\n- |\n  a\n", "YAML that is not read here"},
        {"names:\n  0: a\n\t1: b\n", "data.yaml:3: a tab"},
        {"names:\n  0: a\n    1: b\n", "not indented alike"},
        {"names:\n  0: a\n  0: b\n", "data.yaml:3: class 0 has two names, `a` and `b`"},
        {"names:\n  0: a\n  2: b\n", "2 classes have names, but class 1 has none"},
        {"names:\n  0: a\n  256: b\n", "data.yaml:3: class 256; numbers go from 0 to 255"},
        {"names:\n  0: a\n  x: b\n", "`x` is not the number of a class"},
        {"names:\n  0: a\n  9999999999: b\n", "is not the number of a class"},
        {"names:\n  0 a\n", "`0 a` is not the number"},
        {"names: [a, b, a]\n", "classes 0 and 2 are both named `a`"},
        {"names: [a\x01]\n", "a control byte"},
        {"nc: 2\nnames: [a, m\xE1scara]\n", "data.yaml:2: a name that is not UTF-8; convert"},
    };
    long live = sg_mem_live();
    sg_classes names;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];

        strcpy(text, cases[i].text);
        assert_fails(sg_yolo_parse_names("data.yaml", text, strlen(text), &names), SG_ERR_DATA,
                     cases[i].error);
    }
    assert_int_equal(sg_mem_live(), live);
}

#define IMAGES      "\"images\": [{\"id\": 1, \"file_name\": \"a.png\", \"width\": 64, \"height\": 32}]"
#define CATEGORIES  "\"categories\": [{\"id\": 5, \"name\": \"x\"}]"
#define BOXES(text) "{" IMAGES ", " CATEGORIES ", \"annotations\": [" text "]}"
#define BOX(bbox)   "{\"id\": 17, \"image_id\": 1, \"category_id\": 5, \"bbox\": " bbox "}"

static void coco_faults_are_told(void **state) {
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "c.json:1: no valid JSON"},
        {"{\"images\": [\n{\"id\": NaN}", "c.json:2: no valid JSON"},
        {"{\"a\": 1e999}", "no valid JSON"},
        {"{\"a\": 1, \"a\": 2}", "no valid JSON: duplicate object key"},
        {"[]", "c.json: no COCO file: it has no list `images`"},
        {"{" IMAGES ", " CATEGORIES "}", "has no list `annotations`"},
        {"{" IMAGES ", \"annotations\": [], \"categories\": {}}", "has no list `categories`"},
        {"{" IMAGES ", \"annotations\": [], \"categories\": [{\"name\": \"x\"}]}",
         "categories[0]: `id` is missing"},
        {"{" IMAGES ", \"annotations\": [], \"categories\": [3]}",
         "categories[0]: `id` is missing"},
        {"{" IMAGES ", \"annotations\": [], \"categories\": [{\"id\": 1, \"name\": \"\"}]}",
         "category 1: `name` is missing or no usable text"},
        {"{" IMAGES ", \"annotations\": [], \"categories\": [{\"id\": 1, \"name\": \"a\\nb\"}]}",
         "category 1: `name` is missing or no usable text"},
        {"{" IMAGES ", \"annotations\": [], \"categories\": [{\"id\": 1, \"name\": \"a\"}, "
         "{\"id\": 1, \"name\": \"b\"}]}",
         "category 1 is there twice"},
        {"{" IMAGES ", \"annotations\": [], \"categories\": [{\"id\": 1, \"name\": \"a\"}, "
         "{\"id\": 2, \"name\": \"a\"}]}",
         "category 2: `a` is the name of another one too"},
        {"{\"images\": [{\"id\": \"1\"}], \"annotations\": [], " CATEGORIES "}",
         "images[0]: `id` is missing or no whole number"},
        {"{\"images\": [{\"id\": 1}], \"annotations\": [], " CATEGORIES "}",
         "image 1: `file_name` is missing"},
        {"{\"images\": [{\"id\": 1, \"file_name\": 3}], \"annotations\": [], " CATEGORIES "}",
         "image 1: `file_name` is missing"},
        {"{\"images\": [{\"id\": 1, \"file_name\": \"a\", \"width\": -3}], \"annotations\": "
         "[], " CATEGORIES "}",
         "image 1: `width` is no whole number of pixels"},
        {"{\"images\": [{\"id\": 1, \"file_name\": \"a\", \"width\": 3, \"height\": 1e9}], "
         "\"annotations\": [], " CATEGORIES "}",
         "image 1: `height` is no whole number of pixels"},
        {"{\"images\": [{\"id\": 1, \"file_name\": \"a\"}, {\"id\": 1, \"file_name\": \"b\"}], "
         "\"annotations\": [], " CATEGORIES "}",
         "image 1 is there twice"},
        {BOXES("{}"), "annotations[0]: `id` is missing"},
        {BOXES("7"), "annotations[0]: `id` is missing"},
        {BOXES("{\"id\": 17, \"category_id\": 5}"), "annotation 17: `image_id` or `category_id`"},
        {BOXES("{\"id\": 17, \"image_id\": 2, \"category_id\": 5, \"bbox\": [1, 1, 1, 1]}"),
         "annotation 17: there is no image 2"},
        {BOXES("{\"id\": 17, \"image_id\": 1, \"category_id\": 0, \"bbox\": [1, 1, 1, 1]}"),
         "annotation 17: there is no category 0"},
        {BOXES("{\"id\": 17, \"image_id\": 1, \"category_id\": 5}"),
         "annotation 17: `bbox` must be four numbers"},
        {BOXES(BOX("[1, 2, 3]")), "annotation 17: `bbox` must be four numbers"},
        {BOXES(BOX("[1, 2, 3, \"4\"]")), "annotation 17: `bbox` must be four numbers"},
        {BOXES(BOX("[1, 2, 3, 1e20]")), "annotation 17: `bbox` must be four numbers"},
        {BOXES(BOX("{\"x\": 1}")), "annotation 17: `bbox` must be four numbers"},
        {BOXES(BOX("[1, 2, 3, 4]") ", " BOX("[2, 2, 3, 4]")), "annotation 17 is there twice"},
        {BOXES("{\"id\": 17, \"image_id\": 1, \"category_id\": 5, \"iscrowd\": \"no\"}"),
         "annotation 17: `iscrowd` is neither 0 nor 1"},
    };
    const sg_fault_sink sink = {0};
    long live = sg_mem_live();
    sg_classes names;
    sg_coco coco;
    char *deep;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(
            sg_coco_parse("c.json", cases[i].text, strlen(cases[i].text), &sink, &coco, &names),
            SG_ERR_DATA, cases[i].error);
    deep = sg_malloc(1 << 20);
    memset(deep, '[', 1 << 20);
    assert_fails(sg_coco_parse("c.json", deep, 1 << 20, &sink, &coco, &names), SG_ERR_DATA,
                 "no valid JSON: maximum parsing depth reached");
    sg_free(deep);
    assert_int_equal(sg_mem_live(), live);
}

static void faults_end_the_reading(void **state) {
    static const struct {
        sg_data_format format;
        const char *list, *file, *text; /* this file with this text; then back to good */
        sg_status status;
        const char *error;
    } cases[] = {
        {SG_FORMAT_YOLO, "none.txt", NULL, NULL, SG_ERR_MISSING,
         "none.txt: no such list or folder"},
        {SG_FORMAT_YOLO, "empty.txt", "empty.txt", "\n", SG_ERR_DATA, "the list is empty"},
        {SG_FORMAT_YOLO, "bad.txt", "bad.txt", "images/train/z.png\n", SG_ERR_MISSING,
         "bad.txt:1: images/train/z.png: there is no such picture"},
        {SG_FORMAT_YOLO, "bad.txt", "bad.txt", "images/train/a.png\n./images/train/a.png\n",
         SG_ERR_DATA, "bad.txt:2: the same picture as line 1"},
        {SG_FORMAT_YOLO, "one.txt", "one.txt", "images/train/c.png\n", SG_ERR_MISSING,
         "no picture of it has a label file"},
        {SG_FORMAT_YOLO, "images/train", "labels/train/b.txt", "1 0.5 0.5 0.5 0\n", SG_ERR_DATA,
         "labels/train/b.txt:1: the box (8 32 24 32) has no area"},
        {SG_FORMAT_YOLO, "images/train", "labels/train/b.txt", "1 0.5 0.5 0.5 1e-9\n", SG_ERR_DATA,
         "labels/train/b.txt:1: the box (8 32 24 32) has no area"}, /* none as floats */
        {SG_FORMAT_YOLO, "images/train", "images/train/x.webp", "RIFF", SG_ERR_DATA,
         "images/train/x.webp: neither PNG nor JPEG"},
        {SG_FORMAT_YOLO, "images/train", "data.yaml", "names: [a]\n", SG_ERR_DATA,
         "labels/train/a.txt:3: unknown class 1"},
        {SG_FORMAT_COCO, "none.json", NULL, NULL, SG_ERR_MISSING, "none.json: no such file; set"},
        {SG_FORMAT_COCO, "bad.json", "bad.json", BOXES(""), SG_ERR_MISSING,
         "bad.json: picture `a.png` is not in images, nor beside this file; set data.images"},
        {SG_FORMAT_COCO, "annotations/x_train.json", "annotations/x_train.json",
         BOXES(BOX("[64, 2, 3, 4]")), SG_ERR_DATA,
         "x_train.json: annotation 17: the box (64 2 67 6) is outside of the picture (64 x 32)"},
        {SG_FORMAT_COCO, "annotations/x_train.json", "annotations/x_train.json",
         BOXES(BOX("[4, 2, -3, 4]")), SG_ERR_DATA, "annotation 17: the box (4 2 1 6) has no area"},
        {SG_FORMAT_COCO, "images/train/c.json", "images/train/c.json",
         "{\"images\": [{\"id\": 1, \"file_name\": \"c.png\", \"width\": 64, \"height\": 32}], "
         "\"annotations\": [], " CATEGORIES "}",
         SG_ERR_DATA, "c.json: says 64 x 32 pixels, but"},
        {SG_FORMAT_COCO, "images/train/c.json", "images/train/c.json",
         "{\"images\": [{\"id\": 1, \"file_name\": \"c.png\"}, {\"id\": 2, \"file_name\": "
         "\"c.png\"}], \"annotations\": [], " CATEGORIES "}",
         SG_ERR_DATA, "c.png twice; delete one"},
    };
    long live = sg_mem_live();
    sg_dataset *d;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sg_dataset_place place = place_of(cases[i].format, "bad");
        char path[128];

        write_all("bad");
        if (cases[i].file) {
            snprintf(path, sizeof path, "bad/%s", cases[i].file);
            fixture_text(path, cases[i].text);
        }
        assert_fails(sg_dataset_read(&place, cases[i].list, NULL, &d), cases[i].status,
                     cases[i].error);
        if (cases[i].file) remove(fixture_path(path));
    }
    static const char *const pipes[][3] = {
        {"images/train", "labels/train/a.txt", "a.txt: is a pipe or a device"},
        {"images/train", "data.yaml", "data.yaml: is a pipe or a device"},
        {"list.txt", "list.txt", "list.txt: is a pipe or a device"},
        {"set.json", "set.json", "set.json: is a pipe or a device"}};
    for (size_t i = 0; i < sizeof pipes / sizeof *pipes; i++) {
        sg_dataset_place place = place_of(i == 3 ? SG_FORMAT_COCO : SG_FORMAT_YOLO, "bad");
        char path[128];

        write_all("bad");
        snprintf(path, sizeof path, "bad/%s", pipes[i][1]);
        assert_int_equal(remove(fixture_path(path)), 0);
        assert_int_equal(mkfifo(fixture_path(path), 0600), 0);
        assert_fails(sg_dataset_read(&place, pipes[i][0], NULL, &d), SG_ERR_DATA, pipes[i][2]);
        assert_int_equal(remove(fixture_path(path)), 0);
    }
    /* a class that the training part does not have */
    sg_classes classes;
    sg_dataset_place place = place_of(SG_FORMAT_COCO, "bad");
    write_all("bad");
    assert_ok(sg_classes_parse("with", &classes));
    assert_fails(sg_dataset_read(&place, "set.json", &classes, &d), SG_ERR_DATA,
                 "set.json: annotation 2: unknown class `none`");
    sg_classes_clear(&classes);
    assert_int_equal(sg_mem_live(), live);
}

static int g_entries_left = -1; /* of a folder, before its disk fails; below 0: it does not */

/* The linker takes this one. */
struct dirent *readdir(DIR *folder) {
    static struct dirent *(*real)(DIR *);

    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "readdir");
    if (g_entries_left == 0) {
        errno = EIO;
        return NULL;
    }
    if (g_entries_left > 0) g_entries_left--;
    return real(folder);
}

static void a_listing_is_whole(void **state) {
    sg_dataset_place place = place_of(SG_FORMAT_YOLO, "cut");
    size_t live = sg_mem_live();
    sg_dataset *d;

    (void)state;
    write_all("cut");
    for (int n = 0; n < 6; n++) { /* three pictures, `.` and `..`: then the end */
        g_entries_left = n;
        assert_fails(sg_dataset_read(&place, "images/train", NULL, &d), SG_ERR_IO,
                     "cut/images/train: cannot list: Input/output error");
    }
    g_entries_left = -1;
    assert_int_equal(sg_mem_live(), live);
}

static void label_files_stand_beside(void **state) {
    static const char *const cases[][2] = {
        {"r/images/train/a.jpg", "r/labels/train/a.txt"},
        {"images/a.b.PNG", "labels/a.b.txt"},
        {"/x/images/old/images/a.jpeg", "/x/images/old/labels/a.txt"},
        {"train/images/a.jpg", "train/labels/a.txt"},
        {"pictures/a.jpg", "pictures/a.txt"},
        {"myimages/a.jpg", "myimages/a.txt"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = sg_yolo_label_path(cases[i][0]);

        assert_string_equal(path, cases[i][1]);
        sg_free(path);
    }
}

static void the_check_goes_through_yolo(void **state) {
    static const char *const lists[] = {"images/train", "val.txt"};
    sg_dataset_place place = place_of(SG_FORMAT_YOLO, "check");
    sg_check_summary summary;
    fixture_report r = {0};

    (void)state;
    write_all("check");
    fixture_text("check/labels/train/a.txt",
                 "0 0.5 0.5 0.5 0.5\n1 0.5 0.5 1 1 1 1\n9 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5\n"
                 "0 0.9 0.5 0.5 0.5\n");
    fixture_text("check/labels/train/sub/gone.txt", "");
    fixture_text("check/labels/train/classes.txt", "with\n");
    fixture_text("check/images/train/x.bmp", "BM");
    fixture_text("check/val.txt", "images/train/b.png\n");
    assert_ok(sg_dataset_check(&place, lists, 2, NULL, fixture_note, &r, &summary, NULL));
    fixture_holds(&r, "gone.txt:0: there is no picture for this label file");
    fixture_holds(&r, "x.bmp:0: neither PNG nor JPEG");
    fixture_holds(&r, "a.txt:2: 7 numbers; a box has five");
    fixture_holds(&r, "a.txt:3: unknown class 9");
    fixture_holds(&r, "a.txt:4: the same box as another one");
    fixture_holds(&r, "a.txt:5: the box (41.6 8 73.6 24) reaches out");
    fixture_holds(&r, "c.png:0: there is no label file");
    fixture_holds(&r, "val.txt:1: the same picture as");
    assert_int_equal(r.errors, 4);
    assert_int_equal(r.warnings, 4);
    assert_int_equal(summary.pictures, 4);
    assert_int_equal(summary.boxes, 5);
}

static void the_check_goes_through_coco(void **state) {
    static const char *const lists[] = {"set.json", "bad.json", "none.json"};
    sg_dataset_place place = place_of(SG_FORMAT_COCO, "check2");
    sg_check_summary summary;
    fixture_report r = {0};

    (void)state;
    write_all("check2");
    write_picture("check2/images/a.png", 64, 32, 77);
    fixture_text("check2/bad.json",
                 BOXES("{}, {\"id\": 1, \"image_id\": 3, \"category_id\": 5}, " BOX("[1, 1, 5]")));
    assert_ok(sg_dataset_check(&place, lists, 3, NULL, fixture_note, &r, &summary, NULL));
    fixture_holds(&r, "set.json:0: 1 iscrowd boxes are left out");
    fixture_holds(&r, "bad.json:0: annotations[0]: `id` is missing");
    fixture_holds(&r, "bad.json:0: annotation 1: there is no image 3");
    fixture_holds(&r, "bad.json:0: annotation 17: `bbox` must be");
    fixture_holds(&r, "none.json:0: no such file");
    assert_int_equal(r.errors, 4);
    assert_int_equal(r.warnings, 1);
    assert_int_equal(summary.pictures, 4);
    assert_int_equal(summary.boxes, 3);
}

static void memory_may_fail_anywhere(void **state) {
    static const struct {
        sg_data_format format;
        const char *list;
    } cases[] = {{SG_FORMAT_YOLO, "list.txt"},
                 {SG_FORMAT_YOLO, "images/train"},
                 {SG_FORMAT_COCO, "set.json"}};
    long live = sg_mem_live();

    (void)state;
    write_all("memory");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sg_dataset_place place = place_of(cases[i].format, "memory");
        const char *const *list = &cases[i].list;
        sg_check_summary summary;
        sg_dataset *d;

        FAIL_EACH_ALLOCATION(sg_dataset_read(&place, *list, NULL, &d), 40);
        sg_dataset_destroy(d);
        FAIL_EACH_ALLOCATION(sg_dataset_check(&place, list, 1, NULL, NULL, NULL, &summary, NULL),
                             60);
        assert_int_equal(sg_mem_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_formats_agree),
        cmocka_unit_test(classes_have_an_order),
        cmocka_unit_test(label_lines_are_read),
        cmocka_unit_test(label_faults_are_told),
        cmocka_unit_test(names_are_read),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(coco_faults_are_told),
        cmocka_unit_test(faults_end_the_reading),
        cmocka_unit_test(a_listing_is_whole),
        cmocka_unit_test(label_files_stand_beside),
        cmocka_unit_test(the_check_goes_through_yolo),
        cmocka_unit_test(the_check_goes_through_coco),
        cmocka_unit_test(memory_may_fail_anywhere),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
