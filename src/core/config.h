/* The configuration of a run: a plain struct made from keys.def, read from an INI file and from
 * section.key=value arguments, written back as INI text. */
#ifndef SG_CORE_CONFIG_H
#define SG_CORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_CONFIG_TEXT = 4096 }; /* bytes of a text value with its NUL; a longer one is refused */

/* config.train.epochs and so on, in the order of keys.def. Nothing in it is on the heap: copy it by
 * assignment. A choice points at a static string equal to one of its choices. */
#define SG_SECTION(section, help) struct {
#define SG_SECTION_END(section)                                                                    \
    }                                                                                              \
    section;
#define SG_KEY_INT(s, name, ...)    int64_t name;
#define SG_KEY_FLOAT(s, name, ...)  double name;
#define SG_KEY_BOOL(s, name, ...)   bool name;
#define SG_KEY_TEXT(s, name, ...)   char name[SG_CONFIG_TEXT];
#define SG_KEY_CHOICE(s, name, ...) const char *name;
typedef struct sg_config {
#include "core/keys.def"
} sg_config;
#undef SG_SECTION
#undef SG_SECTION_END
#undef SG_KEY_INT
#undef SG_KEY_FLOAT
#undef SG_KEY_BOOL
#undef SG_KEY_TEXT
#undef SG_KEY_CHOICE

/* A choice compared: sg_choice_is(config.train.optimizer, "adamw"). */
bool sg_choice_is(const char *choice, const char *name);

/* Whether model.type reads texts: some defaults (text_defaults.def) are then others. */
bool sg_config_of_texts(const sg_config *config);

void sg_config_default(sg_config *config);

/* Defaults, then the file (none when `path` is NULL), then the overrides "section.key=value", of
 * which a later one wins; then what holds between keys (batch and shards) is checked.
 * SG_ERR_CONFIG with one line that names file, line, key, value and what is allowed;
 * SG_ERR_MISSING, SG_ERR_IO, SG_ERR_OOM. *config is untouched on failure. */
sg_status sg_config_load(const char *path, const char *const *overrides, int n_overrides,
                         sg_config *config) SG_CHECKED;

/* The same from text that is kept somewhere, as in a model file; `name` stands in messages. What
 * it has as a path is one: what somebody writes is refused where that begins with ~/. */
sg_status sg_config_parse(const char *name, const char *text, size_t size,
                          const char *const *overrides, int n_overrides,
                          sg_config *config) SG_CHECKED;

/* One key: "train.epochs=3". Nothing between keys is checked. */
sg_status sg_config_set(sg_config *config, const char *assignment) SG_CHECKED;

/* The resolved configuration as INI text: every key, in the table's order; reading it back gives
 * the same struct. *text is the caller's (sg_free). */
sg_status sg_config_write(const sg_config *config, char **text) SG_CHECKED;

/* Names of the keys that change the result and differ, as "train.batch, train.lr"; NULL in *names
 * when there are none. *names is the caller's (sg_free). */
sg_status sg_config_diff(const sg_config *a, const sg_config *b, char **names) SG_CHECKED;

/* Every key with type, range, default and help: for a terminal, and as a Markdown page. *text is
 * the caller's (sg_free). */
sg_status sg_config_help(char **text) SG_CHECKED;
sg_status sg_config_markdown(char **text) SG_CHECKED;

/* The table itself, for config.c and config_text.c. */
typedef enum { SG_KIND_INT, SG_KIND_FLOAT, SG_KIND_BOOL, SG_KIND_TEXT, SG_KIND_CHOICE } sg_key_kind;

typedef struct {
    const char *section, *name;
    sg_key_kind kind;
    size_t offset;       /* in sg_config */
    const char *initial; /* default, as text */
    int64_t int_min, int_max, multiple;
    double float_min, float_max;
    const char *const *choices; /* ends with NULL */
    int64_t shortest;           /* text: 1 when it may not be empty */
    bool changes_result;
    const char *help;
} sg_key;

typedef struct {
    const char *name, *help;
} sg_key_section;

const sg_key *sg_keys(int *count);
/* The key's default where sg_config_of_texts. */
const char *sg_key_text_default(const sg_key *key);
const sg_key_section *sg_key_sections(int *count);
/* What a key takes, as in "whole number (1..65536)". Returns `buffer`. */
char *sg_key_takes(const sg_key *key, char *buffer, size_t size);
/* A number as the shortest text that reads back as the same double. Returns `buffer`. */
char *sg_number_text(double value, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif
#endif
