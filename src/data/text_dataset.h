/* A classifier's data set: messages, their labels, the names of the classes. All of it in memory.
 *
 * tweeteval  ROOT/TASK/SPLIT_text.txt    a message a line
 *            ROOT/TASK/SPLIT_labels.txt  its label a line: a whole number
 *            ROOT/TASK/mapping.txt       `number TAB name` a line, 0, 1, .. in any order; or in the
 *                                        folder above, for several tasks
 * csv        ROOT/TASK/SPLIT             RFC 4180, the names of the columns in the first line;
 *                                        tabs divide fields where the file's name ends in .tsv
 * jsonl      ROOT/TASK/SPLIT             one JSON object a line
 *
 * Without a task the files lie in ROOT. SPLIT is a file's name; `train` also finds train.csv,
 * train.tsv or train.jsonl, and a `.txt` at its end may be there or not. datasets/README.md has the
 * whole rule book.
 *
 * Texts are taken byte for byte (of CSV: without quotes, of JSON: without escapes); they are valid
 * UTF-8 without NUL. Only LF ends a line; an empty line is a message like any other.
 *
 * Several tasks at once are read one after the other and keep their own numbering of classes. One
 * task is the case n_tasks = 1. */
#ifndef SG_DATA_TEXT_DATASET_H
#define SG_DATA_TEXT_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "data/classes.h"
#include "data/fault.h"
#include "data/fingerprint.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_TEXT_MAX_LINE = 1 << 20, /* bytes of a line, of a CSV row; longer is SG_ERR_DATA */
    SG_TEXT_MAX_FILE = 1 << 30, /* bytes of a file */
    SG_TEXT_MAX_TASKS = 64,
};

typedef enum { SG_TEXT_TWEETEVAL, SG_TEXT_CSV, SG_TEXT_JSONL } sg_text_format;

/* All borrowed. */
typedef struct {
    sg_text_format format;
    const char *root;         /* folder of the data set */
    const char *task;         /* a name, or several divided by commas; NULL or "": no folder */
    const char *text_column;  /* csv, jsonl; NULL: "text" */
    const char *label_column; /* csv, jsonl; NULL: "label" */
    bool texts_only;          /* labels, mapping.txt, the label column are not looked at */
} sg_text_place;

typedef struct {
    const char *bytes; /* a NUL behind them; borrowed from the task's block */
    int64_t length;    /* in bytes, without the NUL; may be 0 */
    int32_t task;
    int line; /* in the task's file, from 1, where it begins */
} sg_message;

typedef struct {
    char *name;       /* `stance/abortion`; "" where there is none; owned */
    char *path;       /* of the file with the texts, for messages; owned */
    int64_t first, n; /* its texts; n >= 1 */
    char *block;      /* of the texts, owned */
} sg_text_task;

typedef struct {
    int n_tasks;
    sg_text_task *tasks; /* (n_tasks), owned */
    sg_classes *classes; /* (n_tasks), owned */
    int64_t n;           /* at least 1 */
    sg_message *texts;   /* (n), task by task, in the files' order; owned */
    int32_t *labels;     /* (n) in their task's own numbering; -1 of texts only; owned */
} sg_text_dataset;

/* The tasks of `place` (place->task cut at commas, spaces around dropped; one "" where it is empty)
 * as names. SG_ERR_CONFIG: an empty or repeated one, more than SG_TEXT_MAX_TASKS; SG_ERR_OOM. */
sg_status sg_text_place_tasks(const sg_text_place *place, sg_classes *names) SG_CHECKED;

/* *there: a task has a file of SPLIT. Errors of sg_text_place_tasks. */
sg_status sg_text_split_exists(const sg_text_place *place, const char *split,
                               bool *there) SG_CHECKED;

/* Read SPLIT of all tasks. `classes`: (n_tasks) those to number by, such as the training part's,
 * or NULL for the data set's own: mapping.txt's in the order of its numbers; the values that occur
 * in the label column, by value where all are whole numbers, else by their bytes.
 * With `classes` given, labels find their class by name (tweeteval: by the name that mapping.txt
 * gives their number; where there is no mapping.txt, by number). Of csv and jsonl a label that is
 * no class's name, but a whole number below the count of classes, is the class of that number, but
 * where a class's name begins as a number does.
 * `*out` is the caller's and keeps no reference to the arguments.
 * The first fault ends it, with file and line: SG_ERR_MISSING (a file), SG_ERR_DATA (no text, a
 * label that is no class, invalid UTF-8, NUL, too long a line, texts and labels of different
 * number, a broken mapping.txt, CSV or JSON line), SG_ERR_CONFIG (tasks; one column for texts and
 * labels), SG_ERR_IO, SG_ERR_OOM. */
sg_status sg_text_dataset_read(const sg_text_place *place, const char *split,
                               const sg_classes *classes, sg_text_dataset **out) SG_CHECKED;
void sg_text_dataset_destroy(sg_text_dataset *dataset); /* NULL is fine */

/* SHA-256, in hex, over the classes' names of each task, labels and texts in their order. Neither
 * paths nor formats enter. */
sg_status sg_text_dataset_fingerprint(const sg_text_dataset *dataset,
                                      char hex[SG_FINGERPRINT_BYTES]) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
