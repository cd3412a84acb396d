#include "train/check.h"

#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "data/text_check.h"
#include "train/detector.h"
#include "train/text_model.h"

typedef struct {
    const sg_config *config;
    sg_classes classes; /* data.classes; none where it says auto */
    sg_fault_fn report;
    void *context;
} checking;

/* data.test has a default: it belongs to the check only where it is there. */
static int name_parts(const sg_config *config, bool has_test, const char *parts[3]) {
    parts[0] = config->data.train;
    parts[1] = config->data.val;
    parts[2] = config->data.test;
    return has_test ? 3 : 2;
}

static sg_status check_pictures(const checking *c, char **summary, int64_t *errors) {
    char *test = sg_path_join(c->config->data.root, c->config->data.test);
    sg_dataset_place place = sg_detector_place(c->config);
    sg_check_summary s = {0};
    const char *lists[3];
    char *table;
    int n;

    if (!test) return sg_fail(SG_ERR_OOM, "no memory for a path");
    n = name_parts(c->config, sg_file_exists(test), lists);
    sg_free(test);
    SG_TRY(sg_dataset_check(&place, lists, n, c->classes.n > 0 ? &c->classes : NULL, c->report,
                            c->context, &s, &table));
    *errors = s.errors;
    *summary = sg_str_printf("%s\n%s: %lld pictures, %lld boxes, %lld errors, %lld warnings\n",
                             table, c->config->data.root, (long long)s.pictures, (long long)s.boxes,
                             (long long)s.errors, (long long)s.warnings);
    sg_free(table);
    return *summary ? SG_OK : sg_fail(SG_ERR_OOM, "no memory for a summary");
}

static sg_status check_texts(const checking *c, char **summary, int64_t *errors) {
    sg_text_place place = sg_text_place_of(c->config);
    sg_text_check_summary s = {0};
    const char *splits[3];
    char *table = NULL;
    bool has_test;
    sg_status st;
    int n;

    place.texts_only = sg_choice_is(c->config->model.type, "masked_tokens");
    SG_TRY(sg_text_split_exists(&place, c->config->data.test, &has_test));
    n = name_parts(c->config, has_test, splits);
    SG_TRY(sg_text_dataset_check(&place, splits, n, c->classes.n > 0 ? &c->classes : NULL,
                                 c->report, c->context, &s));
    st = sg_text_check_table(&s, &table);
    if (st == SG_OK) {
        *errors = s.errors;
        *summary = sg_str_printf("%s\n%s: %lld texts, %lld errors, %lld warnings\n", table,
                                 c->config->data.root, (long long)s.texts, (long long)s.errors,
                                 (long long)s.warnings);
        if (!*summary) st = sg_fail(SG_ERR_OOM, "no memory for a summary");
    }
    sg_free(table);
    sg_text_check_clear(&s);
    return st;
}

sg_status sg_check_data(const sg_config *config, sg_fault_fn report, void *context, char **summary,
                        int64_t *errors) {
    checking c = {.config = config, .report = report, .context = context};
    sg_status st;

    if (!sg_is_dir(config->data.root)) return sg_fault_of_root(SG_ERR_MISSING, config->data.root);
    if (sg_config_of_texts(config))
        SG_TRY(sg_text_classes_named(config, &c.classes));
    else if (strcmp(config->data.classes, "auto") != 0)
        SG_TRY(sg_classes_parse(config->data.classes, &c.classes));
    st = sg_config_of_texts(config) ? check_texts(&c, summary, errors)
                                    : check_pictures(&c, summary, errors);
    sg_classes_clear(&c.classes);
    return st;
}
