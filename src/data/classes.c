#include "data/classes.h"

#include <string.h>

#include "core/mem.h"
#include "core/utf8.h"

static sg_status add_class(sg_classes *classes, const char *name, size_t length) {
    char **larger, *copy = sg_str_printf("%.*s", (int)length, name);
    size_t n = (size_t)classes->n;

    if (!copy) return sg_fail(SG_ERR_OOM, "classes: no memory for a name");
    larger = sg_realloc(classes->name, n * sizeof *larger, (n + 1) * sizeof *larger);
    if (!larger) {
        sg_free(copy);
        return sg_fail(SG_ERR_OOM, "classes: no memory for %zu names", n + 1);
    }
    classes->name = larger;
    classes->name[classes->n++] = copy;
    return SG_OK;
}

typedef struct {
    const char *what;
    int most;
} wanted;

static sg_status parse_one(const wanted *w, sg_classes *classes, const char *name, size_t length) {
    while (length > 0 && strchr(" \t", name[length - 1])) length--;
    while (length > 0 && (*name == ' ' || *name == '\t')) name++, length--;
    if (length == 0)
        return sg_fail(SG_ERR_CONFIG, "%s %d has an empty name", w->what, classes->n + 1);
    if (sg_utf8_check(name, length) < length)
        return sg_fail(SG_ERR_CONFIG, "%s %d has a name that is not UTF-8", w->what,
                       classes->n + 1);
    for (int i = 0; i < classes->n; i++)
        if (strlen(classes->name[i]) == length && memcmp(classes->name[i], name, length) == 0)
            return sg_fail(SG_ERR_CONFIG, "%s `%s` is named twice", w->what, classes->name[i]);
    if (classes->n == w->most)
        return sg_fail(SG_ERR_CONFIG, "%s `%.*s` is one too many; at most %d", w->what, (int)length,
                       name, w->most);
    return add_class(classes, name, length);
}

sg_status sg_names_parse(const char *what, const char *list, int most, sg_classes *out) {
    const wanted w = {what, most};
    sg_classes classes = {0};
    sg_status st = SG_OK;

    while (st == SG_OK) {
        size_t length = strcspn(list, ",");

        st = parse_one(&w, &classes, list, length);
        list += length;
        if (!*list) break;
        list++;
    }
    if (st == SG_OK)
        *out = classes;
    else
        sg_classes_clear(&classes);
    return st;
}

sg_status sg_classes_parse(const char *list, sg_classes *out) {
    return sg_names_parse("data.classes: class", list, SG_MAX_CLASSES, out);
}

sg_status sg_classes_copy(const sg_classes *from, sg_classes *out) {
    sg_classes classes = {0};

    for (int i = 0; i < from->n; i++) {
        sg_status st = add_class(&classes, from->name[i], strlen(from->name[i]));

        if (st == SG_OK) continue;
        sg_classes_clear(&classes);
        return st;
    }
    *out = classes;
    return SG_OK;
}

int sg_classes_find(const sg_classes *classes, const char *name) {
    for (int i = 0; i < classes->n; i++)
        if (strcmp(classes->name[i], name) == 0) return i;
    return -1;
}

void sg_classes_clear(sg_classes *classes) {
    for (int i = 0; i < classes->n; i++) sg_free(classes->name[i]);
    sg_free(classes->name);
    *classes = (sg_classes){0};
}

sg_status sg_classes_intern(sg_classes *classes, const char *name, int may_grow, int *id) {
    *id = sg_classes_find(classes, name);
    if (*id >= 0 || !may_grow) return SG_OK;
    if (classes->n == SG_MAX_CLASSES)
        return sg_fail(SG_ERR_DATA, "`%.100s` would be class %d; at most %d", name,
                       SG_MAX_CLASSES + 1, SG_MAX_CLASSES);
    SG_TRY(add_class(classes, name, strlen(name)));
    *id = classes->n - 1;
    return SG_OK;
}
