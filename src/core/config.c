/* Reading a configuration: the table, values from text, messages that help. */
#define _GNU_SOURCE /* strtod_l: a number means the same in every locale */
#include "core/config.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ini.h"

enum {
    kWhere = 512,  /* bytes of "mask.ini:14: " */
    kMaxName = 64, /* longest name that is compared for a suggestion */
    kFromDefault = 0,
    kFromArgument = -1, /* else the line in the file */
};

#define FREE   false
#define RESULT true

// clang-format off
#define SG_SECTION(section, help)
#define SG_SECTION_END(section)
#define SG_KEY_INT(s, n, initial_, min, max, multiple_, effect, help_)                     \
    {.section = #s, .name = #n, .kind = SG_KIND_INT, .offset = offsetof(sg_config, s.n),   \
     .initial = #initial_, .int_min = (min), .int_max = (max), .multiple = (multiple_),    \
     .changes_result = (effect), .help = (help_)},
#define SG_KEY_FLOAT(s, n, initial_, min, max, effect, help_)                              \
    {.section = #s, .name = #n, .kind = SG_KIND_FLOAT, .offset = offsetof(sg_config, s.n), \
     .initial = #initial_, .float_min = (min), .float_max = (max),                         \
     .changes_result = (effect), .help = (help_)},
#define SG_KEY_BOOL(s, n, initial_, effect, help_)                                         \
    {.section = #s, .name = #n, .kind = SG_KIND_BOOL, .offset = offsetof(sg_config, s.n),  \
     .initial = #initial_, .changes_result = (effect), .help = (help_)},
#define SG_KEY_TEXT(s, n, initial_, shortest_, effect, help_)                              \
    {.section = #s, .name = #n, .kind = SG_KIND_TEXT, .offset = offsetof(sg_config, s.n),  \
     .initial = (initial_), .shortest = (shortest_),                                       \
     .changes_result = (effect), .help = (help_)},
#define SG_KEY_CHOICE(s, n, initial_, effect, help_, ...)                                  \
    {.section = #s, .name = #n, .kind = SG_KIND_CHOICE, .offset = offsetof(sg_config, s.n),\
     .initial = (initial_), .choices = (const char *const[]){__VA_ARGS__, NULL},           \
     .changes_result = (effect), .help = (help_)},
// clang-format on
static const sg_key keys[] = {
#include "core/keys.def"
};
#undef SG_SECTION
#undef SG_SECTION_END
#undef SG_KEY_INT
#undef SG_KEY_FLOAT
#undef SG_KEY_BOOL
#undef SG_KEY_TEXT
#undef SG_KEY_CHOICE

#define SG_SECTION(section, help) {#section, help},
#define SG_SECTION_END(section)
#define SG_KEY_INT(...)
#define SG_KEY_FLOAT(...)
#define SG_KEY_BOOL(...)
#define SG_KEY_TEXT(...)
#define SG_KEY_CHOICE(...)
static const sg_key_section sections[] = {
#include "core/keys.def"
};

enum {
    kKeys = sizeof keys / sizeof keys[0],
    kSections = sizeof sections / sizeof sections[0],
};

#define SG_DEFAULT(section, name, value) {#section, #name, value},
static const struct {
    const char *section, *name, *value;
} text_defaults[] = {
#include "core/text_defaults.def"
};
#undef SG_DEFAULT

enum { kTextDefaults = sizeof text_defaults / sizeof text_defaults[0] };

const sg_key *sg_keys(int *count) {
    *count = kKeys;
    return keys;
}

const char *sg_key_text_default(const sg_key *key) {
    for (int i = 0; i < kTextDefaults; i++)
        if (strcmp(text_defaults[i].name, key->name) == 0 &&
            strcmp(text_defaults[i].section, key->section) == 0)
            return text_defaults[i].value;
    return key->initial;
}

const sg_key_section *sg_key_sections(int *count) {
    *count = kSections;
    return sections;
}

bool sg_choice_is(const char *choice, const char *name) { return strcmp(choice, name) == 0; }

bool sg_config_of_texts(const sg_config *config) {
    return !sg_choice_is(config->model.type, "mask_detector");
}

/* ---- numbers ---- */

/* The C locale; NULL only when there is no memory for it, which strtod_l would not survive. */
static locale_t c_locale(void) { return newlocale(LC_ALL_MASK, "C", (locale_t)0); }

static bool parse_whole(const char *text, int64_t *value) {
    const char *digits = text + (*text == '-' || *text == '+');
    long long parsed;

    if (!*digits || strspn(digits, "0123456789") != strlen(digits)) return false;
    errno = 0;
    parsed = strtoll(text, NULL, 10); /* clamps what is too large, as the range check wants it */
    *value = parsed;
    return true;
}

/* Decimal notation alone: no hexadecimal, infinity or NaN. */
static bool parse_number(const char *text, double *value) {
    locale_t locale;
    char *end;

    if (!*text || strspn(text, "0123456789+-.eE") != strlen(text)) return false;
    locale = c_locale();
    if (!locale) return false;
    *value = strtod_l(text, &end, locale);
    freelocale(locale);
    return end != text && *end == '\0';
}

char *sg_number_text(double value, char *buffer, size_t size) {
    locale_t locale = c_locale(), before = locale ? uselocale(locale) : (locale_t)0;

    for (int digits = 15; digits <= 17; digits++) { /* 15 always hold, 17 always suffice */
        snprintf(buffer, size, "%.*g", digits, value);
        if (strtod(buffer, NULL) == value) break;
    }
    if (locale) {
        uselocale(before);
        freelocale(locale);
    }
    return buffer;
}

/* ---- one value ---- */

char *sg_key_takes(const sg_key *key, char *buffer, size_t size) {
    char low[32], high[32];

    switch (key->kind) {
    case SG_KIND_INT:
        if (key->multiple > 1)
            snprintf(buffer, size, "whole number (%lld..%lld, a multiple of %lld)",
                     (long long)key->int_min, (long long)key->int_max, (long long)key->multiple);
        else
            snprintf(buffer, size, "whole number (%lld..%lld)", (long long)key->int_min,
                     (long long)key->int_max);
        break;
    case SG_KIND_FLOAT:
        snprintf(buffer, size, "number (%s..%s)", sg_number_text(key->float_min, low, sizeof low),
                 sg_number_text(key->float_max, high, sizeof high));
        break;
    case SG_KIND_BOOL:
        snprintf(buffer, size, "true or false");
        break;
    case SG_KIND_TEXT:
        snprintf(buffer, size, "text");
        break;
    case SG_KIND_CHOICE:
        snprintf(buffer, size, "one of");
        for (int i = 0; key->choices[i]; i++) {
            size_t used = strlen(buffer);

            snprintf(buffer + used, size - used, "%s %s", i > 0 ? "," : "", key->choices[i]);
        }
        break;
    }
    return buffer;
}

static sg_status refuse(const sg_key *key, const char *value, const char *where) {
    const char *article = key->kind == SG_KIND_INT || key->kind == SG_KIND_FLOAT ? "a " : "";
    char takes[256];

    return sg_fail(SG_ERR_CONFIG, "%s%s.%s: '%s' is not %s%s", where, key->section, key->name,
                   value, article, sg_key_takes(key, takes, sizeof takes));
}

static sg_status set_choice(const sg_key *key, const char *value, const char *where,
                            const char **out) {
    for (int i = 0; key->choices[i]; i++)
        if (strcmp(key->choices[i], value) == 0) {
            *out = key->choices[i];
            return SG_OK;
        }
    return refuse(key, value, where);
}

static sg_status set_bool(const sg_key *key, const char *value, const char *where, bool *out) {
    static const char *const kTrue[] = {"true", "yes", "on", "1"};
    static const char *const kFalse[] = {"false", "no", "off", "0"};

    for (int i = 0; i < 4; i++)
        if (strcmp(value, kTrue[i]) == 0 || strcmp(value, kFalse[i]) == 0) {
            *out = strcmp(value, kTrue[i]) == 0;
            return SG_OK;
        }
    return refuse(key, value, where);
}

static sg_status set_text(const sg_key *key, const char *value, const char *where, char *out) {
    size_t length = strlen(value);

    if (length >= SG_CONFIG_TEXT)
        return sg_fail(SG_ERR_CONFIG, "%s%s.%s: %zu bytes are too many; at most %d", where,
                       key->section, key->name, length, SG_CONFIG_TEXT - 1);
    if ((int64_t)length < key->shortest)
        return sg_fail(SG_ERR_CONFIG, "%s%s.%s: may not be empty", where, key->section, key->name);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
            return sg_fail(SG_ERR_CONFIG, "%s%s.%s: control character 0x%02x; remove it", where,
                           key->section, key->name, (unsigned)(unsigned char)value[i]);
    memcpy(out, value, length + 1);
    return SG_OK;
}

/* `where` is what stands before the key in a message: "mask.ini:14: ". */
static sg_status set_value(sg_config *config, const sg_key *key, const char *value,
                           const char *where) {
    void *field = (char *)config + key->offset;
    int64_t whole;
    double number;

    switch (key->kind) {
    case SG_KIND_INT:
        if (!parse_whole(value, &whole) || whole < key->int_min || whole > key->int_max ||
            whole % key->multiple != 0)
            return refuse(key, value, where);
        *(int64_t *)field = whole;
        return SG_OK;
    case SG_KIND_FLOAT:
        if (!parse_number(value, &number) ||
            !(number >= key->float_min && number <= key->float_max))
            return refuse(key, value, where);
        *(double *)field = number;
        return SG_OK;
    case SG_KIND_BOOL:
        return set_bool(key, value, where, field);
    case SG_KIND_TEXT:
        return set_text(key, value, where, field);
    case SG_KIND_CHOICE:
        return set_choice(key, value, where, field);
    }
    return sg_fail(SG_ERR_ARG, "%s.%s: unknown kind %d", key->section, key->name, (int)key->kind);
}

/* ---- finding keys, and suggesting one ---- */

static const sg_key *find_key(const char *section, const char *name) {
    for (int i = 0; i < kKeys; i++)
        if (strcmp(keys[i].name, name) == 0 && strcmp(keys[i].section, section) == 0)
            return &keys[i];
    return NULL;
}

static int min3(int a, int b, int c) {
    int m = a < b ? a : b;

    return m < c ? m : c;
}

/* Edits that turn a into b, a swap of neighbours being one (optimal string alignment); a large
 * number when one is too long to be a mistyped name. */
static int edit_distance(const char *a, const char *b) {
    int rows[3][kMaxName + 1], *before = rows[0], *last = rows[1], *now = rows[2];
    int n = (int)strlen(a), m = (int)strlen(b);

    if (n > kMaxName || m > kMaxName) return kMaxName;
    for (int j = 0; j <= m; j++) last[j] = before[j] = j;
    for (int i = 1; i <= n; i++) {
        int *oldest = before;

        now[0] = i;
        for (int j = 1; j <= m; j++) {
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        before = last;
        last = now;
        now = oldest;
    }
    return last[m];
}

/* The nearest key, unless all are far: a slip or two in a name, or the right name in the wrong
 * section. */
static const sg_key *nearest_key(const char *section, const char *name) {
    const sg_key *best = NULL;
    int best_distance = 0;

    for (int i = 0; i < kKeys; i++) {
        int in_name = edit_distance(name, keys[i].name);
        int in_section = edit_distance(section, keys[i].section);
        int distance = in_name + (in_section < 2 ? in_section : 2);
        bool near = in_name == 0 || in_name * 3 <= (int)strlen(keys[i].name) + 1;

        if (near && (!best || distance < best_distance)) {
            best = &keys[i];
            best_distance = distance;
        }
    }
    return best;
}

static bool is_section(const char *name) {
    for (int i = 0; i < kSections; i++)
        if (strcmp(sections[i].name, name) == 0) return true;
    return false;
}

static sg_status unknown_key(const char *section, const char *name, const char *where) {
    const sg_key *near = nearest_key(section, name);

    if (near)
        return sg_fail(SG_ERR_CONFIG, "%s%s.%s: unknown key; did you mean %s.%s?", where, section,
                       name, near->section, near->name);
    for (int i = 0; i < kSections && !is_section(section); i++)
        if (edit_distance(section, sections[i].name) <= 2)
            return sg_fail(SG_ERR_CONFIG, "%s%s.%s: unknown section; did you mean [%s]?", where,
                           section, name, sections[i].name);
    return sg_fail(SG_ERR_CONFIG, "%s%s.%s: unknown key; `train --help-config` lists all", where,
                   section, name);
}

/* ---- a whole configuration ---- */

static void set_defaults(sg_config *config, bool texts) {
    memset(config, 0, sizeof *config);
    for (int i = 0; i < kKeys; i++) {
        const char *value = texts ? sg_key_text_default(&keys[i]) : keys[i].initial;
        sg_status st = set_value(config, &keys[i], value, "");

        assert(st == SG_OK); /* a wrong default in keys.def; the tests load them all */
        (void)st;
    }
}

void sg_config_default(sg_config *config) { set_defaults(config, false); }

/* Where each key's value came from: a line, kFromArgument or kFromDefault. */
typedef struct {
    const char *file;
    bool stored; /* it is no file that somebody wrote, but what a model says of itself */
    int line[kKeys];
} origins;

static void write_where(const char *file, int line, char *where, size_t size) {
    if (line == kFromArgument)
        snprintf(where, size, "command line: ");
    else if (line == kFromDefault)
        where[0] = '\0';
    else
        snprintf(where, size, "%s:%d: ", file, line);
}

/* Behind `=` no shell makes it a path, and a folder that is named ~ is nobody's wish. */
static sg_status refuse_home(const sg_key *key, const char *value, const char *where) {
    if (key->kind != SG_KIND_TEXT || strncmp(value, "~/", 2) != 0) return SG_OK;
    return sg_fail(SG_ERR_CONFIG, "%s%s.%s: '%s': ~ is not made a home folder here; write it out",
                   where, key->section, key->name, value);
}

static sg_status apply_ini(sg_config *config, const sg_ini *ini, origins *from) {
    for (int i = 0; i < ini->count; i++) {
        const sg_ini_entry *entry = &ini->entries[i];
        const sg_key *key = find_key(entry->section, entry->key);
        char where[kWhere];

        write_where(from->file, entry->line, where, sizeof where);
        if (!key) return unknown_key(entry->section, entry->key, where);
        if (!from->stored) SG_TRY(refuse_home(key, entry->value, where));
        SG_TRY(set_value(config, key, entry->value, where));
        from->line[key - keys] = entry->line;
    }
    return SG_OK;
}

static sg_status apply_assignment(sg_config *config, const char *assignment, origins *from) {
    static const char kWhereText[] = "command line: ";
    const char *equals = strchr(assignment, '='), *dot = strchr(assignment, '.');
    char section[kMaxName], name[kMaxName];
    const sg_key *key;

    if (!equals || !dot || dot > equals || dot == assignment || dot + 1 == equals)
        return sg_fail(SG_ERR_CONFIG, "%s'%s' is not section.key=value", kWhereText, assignment);
    if (dot - assignment >= kMaxName || equals - dot - 1 >= kMaxName)
        return sg_fail(SG_ERR_CONFIG, "%s%.*s: unknown key; `train --help-config` lists all",
                       kWhereText, (int)(equals - assignment), assignment);
    snprintf(section, sizeof section, "%.*s", (int)(dot - assignment), assignment);
    snprintf(name, sizeof name, "%.*s", (int)(equals - dot - 1), dot + 1);
    key = find_key(section, name);
    if (!key) return unknown_key(section, name, kWhereText);
    SG_TRY(refuse_home(key, equals + 1, kWhereText));
    SG_TRY(set_value(config, key, equals + 1, kWhereText));
    if (from) from->line[key - keys] = kFromArgument;
    return SG_OK;
}

sg_status sg_config_set(sg_config *config, const char *assignment) {
    return apply_assignment(config, assignment, NULL);
}

/* auto, cpu, cuda, cuda:N. */
static bool is_device(const char *text) {
    if (strcmp(text, "auto") == 0 || strcmp(text, "cpu") == 0) return true;
    if (strncmp(text, "cuda", 4) != 0) return false;
    if (text[4] == '\0') return true;
    return text[4] == ':' && text[5] && strlen(text + 5) <= 2 &&
           strspn(text + 5, "0123456789") == strlen(text + 5);
}

static sg_status check_device(const sg_config *config, const origins *from) {
    char where[kWhere];

    if (is_device(config->run.device)) return SG_OK;
    write_where(from->file, from->line[find_key("run", "device") - keys], where, sizeof where);
    return sg_fail(SG_ERR_CONFIG,
                   "%srun.device: '%s' is none of auto, cpu, cuda, cuda:N (N = 0, 1, ...)", where,
                   config->run.device);
}

static sg_status check_format(const sg_config *config, const origins *from) {
    static const char *const kTexts[] = {"tweeteval", "csv", "jsonl"};
    bool texts = false;
    char where[kWhere];

    for (int i = 0; i < 3; i++) texts = texts || sg_choice_is(config->data.format, kTexts[i]);
    if (texts == sg_config_of_texts(config)) return SG_OK;
    write_where(from->file, from->line[find_key("data", "format") - keys], where, sizeof where);
    return sg_fail(SG_ERR_CONFIG, "%sdata.format: %s is for %s; model.type = %s takes %s", where,
                   config->data.format, texts ? "texts" : "pictures", config->model.type,
                   texts ? "voc, yolo, coco" : "tweeteval, csv, jsonl");
}

/* What holds between keys; the message points at the one that was set. */
static sg_status check_together(const sg_config *config, const origins *from) {
    const sg_key *batch = find_key("train", "batch"), *shards = find_key("train", "shards");
    int64_t B = config->train.batch, S = config->train.shards;
    char where[kWhere];
    int line = from->line[batch - keys];

    if (B % S == 0) return SG_OK;
    if (line == kFromDefault) line = from->line[shards - keys];
    write_where(from->file, line, where, sizeof where);
    return sg_fail(SG_ERR_CONFIG,
                   "%strain.batch: %lld is not a multiple of train.shards = %lld; "
                   "try %lld",
                   where, (long long)B, (long long)S, (long long)((B / S + 1) * S));
}

/* A bag that nobody has learned would say nothing, and go on so. */
static sg_status check_kept_bag(const sg_config *config, const origins *from) {
    char where[kWhere];

    if (!config->model.keep_bag || (config->model.init[0] && config->model.bag > 0)) return SG_OK;
    write_where(from->file, from->line[find_key("model", "keep_bag") - keys], where, sizeof where);
    return sg_fail(SG_ERR_CONFIG,
                   "%smodel.keep_bag: keeps the bag of another model; name its file with "
                   "model.init and its width with model.bag",
                   where);
}

/* Each worker would time its own, and the bits would be none's. */
static sg_status check_tune(const sg_config *config, const origins *from) {
    char where[kWhere];

    if (!config->run.tune || !config->distributed.store[0]) return SG_OK;
    write_where(from->file, from->line[find_key("run", "tune") - keys], where, sizeof where);
    return sg_fail(SG_ERR_CONFIG,
                   "%srun.tune: workers would choose different kernels, and differ in their bits; "
                   "leave it out with distributed.store",
                   where);
}

/* Fewer would wait for others that nobody takes in, and be started again for that. */
static sg_status check_workers(const sg_config *config, const origins *from) {
    int64_t least = config->distributed.min_workers, most = config->distributed.max_workers;
    bool shards = most == 0 || most > config->train.shards;
    char where[kWhere];

    if (shards) most = config->train.shards;
    if (!config->distributed.store[0] || least <= most) return SG_OK;
    write_where(from->file, from->line[find_key("distributed", "min_workers") - keys], where,
                sizeof where);
    return sg_fail(SG_ERR_CONFIG, "%sdistributed.min_workers: %lld never come together; %s is %lld",
                   where, (long long)least, shards ? "train.shards" : "distributed.max_workers",
                   (long long)most);
}

/* What is told, over the defaults of one kind of model. */
static sg_status apply_all(const sg_ini *ini, const char *const *overrides, int n_overrides,
                           bool texts, origins *from, sg_config *config) {
    set_defaults(config, texts);
    if (ini) SG_TRY(apply_ini(config, ini, from));
    for (int i = 0; i < n_overrides; i++) SG_TRY(apply_assignment(config, overrides[i], from));
    return SG_OK;
}

static sg_status resolve(const char *name, bool stored, const sg_ini *ini,
                         const char *const *overrides, int n_overrides, sg_config *config) {
    origins from = {.file = name, .stored = stored};
    sg_config resolved;

    SG_TRY(apply_all(ini, overrides, n_overrides, false, &from, &resolved));
    if (sg_config_of_texts(&resolved))
        SG_TRY(apply_all(ini, overrides, n_overrides, true, &from, &resolved));
    SG_TRY(check_device(&resolved, &from));
    SG_TRY(check_format(&resolved, &from));
    SG_TRY(check_together(&resolved, &from));
    SG_TRY(check_kept_bag(&resolved, &from));
    SG_TRY(check_tune(&resolved, &from));
    SG_TRY(check_workers(&resolved, &from));
    *config = resolved;
    return SG_OK;
}

sg_status sg_config_load(const char *path, const char *const *overrides, int n_overrides,
                         sg_config *config) {
    sg_ini ini = {0};
    sg_status st;

    if (!path) return resolve("", false, NULL, overrides, n_overrides, config);
    SG_TRY(sg_ini_read(path, &ini));
    st = resolve(path, false, &ini, overrides, n_overrides, config);
    sg_ini_clear(&ini);
    return st;
}

sg_status sg_config_parse(const char *name, const char *text, size_t size,
                          const char *const *overrides, int n_overrides, sg_config *config) {
    sg_ini ini = {0};
    sg_status st;

    SG_TRY(sg_ini_parse(name, text, size, &ini));
    st = resolve(name, true, &ini, overrides, n_overrides, config);
    sg_ini_clear(&ini);
    return st;
}
