/* `predict` of a text classifier: a label for each text, in the order of the inputs.
 *
 * Texts wait until there are many, or nothing more has arrived: a full pipe is answered in large
 * groups on all threads, a person who types a line is answered at once. */
#define _GNU_SOURCE
#include "cli/predict.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mem.h"
#include "train/text_answer.h"
#include "train/text_trained.h"

enum {
    /* Texts of one run of the model. With 4 layers of width 256, 3000 tweets take 7.7 s of a core
     * in batches of 8 or 32, 8.3 in 4, 12.4 one by one; a text of 64 subwords alone is answered 120
     * ms after the start, or 230, 100, 90. */
    kBatch = 8,
    kGroup = 4096, /* texts that are answered together */
    kBlock = 128,  /* texts whose lines one thread writes at a time */
    kBlocks = (kGroup + kBlock - 1) / kBlock,
    kRead = 1 << 18,    /* bytes asked for at a time */
    kEnough = 1 << 20,  /* bytes that are answered before more are read */
    kLongest = 1 << 30, /* bytes of a line */
};

typedef struct {
    const char *bytes; /* borrowed */
    int64_t length;
} waiting_text;

typedef struct {
    const cli_prediction *request;
    sg_text_trained model;
    waiting_text text[kGroup];
    int64_t n;            /* that wait */
    float *probabilities; /* (kGroup, classes), owned */
    sg_line line[kBlocks];
    bool good; /* every input could be read */
    bool open; /* somebody reads the answers */
} labelling;

/* --- answers ---------------------------------------------------------------------------------- */

static const char *text_at(const void *texts, int64_t i, int64_t *bytes) {
    const waiting_text *text = (const waiting_text *)texts + i;

    *bytes = text->length;
    return text->bytes;
}

static sg_status write_block(void *context, int64_t block, int worker) {
    labelling *l = context;
    sg_line *line = &l->line[block];
    int64_t first = block * kBlock, end = first + kBlock < l->n ? first + kBlock : l->n;

    (void)worker;
    line->size = 0;
    for (int64_t i = first; i < end; i++)
        (l->request->json ? sg_text_answer_json : sg_text_answer_plain)(
            &l->model.model, l->text[i].bytes, l->text[i].length,
            l->probabilities + i * l->model.model.n_classes, line);
    return sg_line_status(line);
}

/* All that wait. */
static void answer_texts(labelling *l) {
    int64_t blocks = (l->n + kBlock - 1) / kBlock;
    sg_status st;

    if (l->n == 0) return;
    st = sg_text_trained_answer(&l->model, text_at, l->text, l->n, l->probabilities);
    if (st == SG_OK) st = sg_pool_run(l->model.pool, blocks, write_block, l);
    if (st != SG_OK) die(st, NULL);
    for (int64_t b = 0; b < blocks && l->open; b++)
        l->open = cli_write(l->line[b].data, l->line[b].size);
    l->n = 0;
}

static void add_text(labelling *l, const char *bytes, size_t length) {
    l->text[l->n++] = (waiting_text){bytes, (int64_t)length};
    if (l->n == kGroup) answer_texts(l);
}

/* In its place among the answers. */
static void refuse_input(labelling *l, const char *input, const char *what) {
    sg_line line = {0};

    answer_texts(l);
    cli_say("%s: %s", input, what);
    l->good = false;
    if (!l->request->json) return;
    cli_put_error(&line, input, what);
    if (sg_line_status(&line) != SG_OK) die(SG_ERR_OOM, NULL);
    l->open = l->open && cli_write(line.data, line.size);
    sg_line_clear(&line);
}

/* --- lines ------------------------------------------------------------------------------------ */

typedef struct {
    int file;
    char *data; /* owned */
    size_t size, capacity;
    size_t whole; /* bytes up to the last LF and with it */
} stream;

/* What there is to read, waiting for something. Returns read(2)'s answer. */
static ssize_t read_more(stream *s) {
    ssize_t n;

    if (s->capacity - s->size < kRead) {
        size_t capacity = s->capacity ? 2 * s->capacity : (size_t)kRead + kEnough;
        char *grown = sg_realloc(s->data, s->capacity, capacity);

        if (!grown) die(sg_fail(SG_ERR_OOM, "no memory for a line of %zu bytes", s->size), NULL);
        s->data = grown;
        s->capacity = capacity;
    }
    do {
        n = read(s->file, s->data + s->size, kRead);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        const char *last = memrchr(s->data + s->size, '\n', (size_t)n);

        s->size += (size_t)n;
        if (last) s->whole = (size_t)(last - s->data) + 1;
    }
    return n;
}

static bool has_more(const stream *s) {
    struct pollfd file = {.fd = s->file, .events = POLLIN};

    return poll(&file, 1, 0) > 0;
}

/* The whole lines; what is behind them moves to the start. */
static void answer_lines(labelling *l, stream *s) {
    for (size_t at = 0, length; at < s->whole && l->open; at += length + 1) {
        length = (size_t)((char *)memchr(s->data + at, '\n', s->whole - at) - (s->data + at));
        add_text(l, s->data + at, length);
    }
    answer_texts(l);
    memmove(s->data, s->data + s->whole, s->size - s->whole);
    s->size -= s->whole;
    s->whole = 0;
}

/* What a file of texts cannot begin with, and what begins with it. */
static const struct {
    const char *bytes, *what;
} kForeign[] = {
    {"\x89PNG", "is a picture (PNG); this model answers texts"},
    {"\xFF\xD8\xFF", "is a picture (JPEG); this model answers texts"},
    {"\x89HDF", "is an HDF5 file, such as a model; this model answers texts"},
    {"\x1F\x8B", "is compressed (gzip): unpack it first, or pipe it through zcat"},
    {"PK\x03\x04", "is an archive (zip): unpack it first"},
    {"\xFF\xFE", "is UTF-16: convert it first, with iconv -f UTF-16 -t UTF-8"},
    {"\xFE\xFF", "is UTF-16: convert it first, with iconv -f UTF-16 -t UTF-8"},
};

/* What the rest of a file is that holds no texts; NULL: nothing known. Of a pipe it is not known.
 */
static const char *foreign(int file) {
    char start[4] = "";
    off_t at = lseek(file, 0, SEEK_CUR);
    ssize_t n = at < 0 ? -1 : pread(file, start, sizeof start, at);

    for (size_t i = 0; i < sizeof kForeign / sizeof kForeign[0]; i++) {
        size_t length = strlen(kForeign[i].bytes);

        if (n >= (ssize_t)length && memcmp(start, kForeign[i].bytes, length) == 0)
            return kForeign[i].what;
    }
    return NULL;
}

static void answer_stream(labelling *l, const char *name, int file) {
    stream s = {.file = file};
    const char *fault = foreign(file);
    ssize_t n = 1;

    answer_texts(l);
    while (n > 0 && !fault && l->open) {
        n = read_more(&s);
        if (n < 0) fault = strerrordesc_np(errno);
        if (s.size - s.whole > kLongest) fault = "has a line of more than 1 GiB";
        if (s.whole > 0 && (fault || s.size >= kEnough || !has_more(&s))) answer_lines(l, &s);
    }
    if (!fault && l->open) { /* the last line may lack its LF */
        answer_lines(l, &s);
        if (s.size > 0) add_text(l, s.data, s.size);
        answer_texts(l);
    }
    if (fault) refuse_input(l, name, fault);
    sg_free(s.data);
}

/* --- inputs ----------------------------------------------------------------------------------- */

/* With which a file's name ends that holds texts; NULL: it ends otherwise. */
static const char *ending_of(const char *name) {
    static const char *const kEndings[] = {".txt", ".csv", ".tsv", ".jsonl", ".json"};
    size_t length = strlen(name);

    for (size_t i = 0; i < sizeof kEndings / sizeof kEndings[0]; i++) {
        size_t n = strlen(kEndings[i]);

        if (length > n && strcmp(name + length - n, kEndings[i]) == 0) return kEndings[i];
    }
    return NULL;
}

static void answer_file(labelling *l, const char *path) {
    const char *ending = ending_of(path);
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC);

    if (file < 0) {
        refuse_input(l, path, strerrordesc_np(errno));
        return;
    }
    if (fstat(file, &info) == 0 && S_ISDIR(info.st_mode)) {
        refuse_input(l, path, "is a folder, not a file of texts");
    } else {
        if (ending && strcmp(ending, ".txt") != 0)
            cli_say("%s: each line is answered as it stands; columns and fields are not read",
                    path);
        answer_stream(l, path, file);
    }
    close(file);
}

/* A name that was mistyped, rather than a message. */
static bool looks_like_file(const char *input) {
    return ending_of(input) && !strpbrk(input, " \t\n");
}

static void answer_input(labelling *l, const char *input) {
    if (strcmp(input, "-") == 0) {
        answer_stream(l, "standard input", STDIN_FILENO);
    } else if (cli_names_nothing(input)) {
        if (looks_like_file(input))
            cli_say("%s: no file has this name: it is answered as a text", input);
        add_text(l, input, strlen(input));
    } else {
        answer_file(l, input);
    }
}

int cli_predict_texts(const cli_prediction *request) {
    static labelling l;
    const cli_arguments *a = request->arguments;
    const sg_text_trained_options load = {kBatch, request->threads};
    sg_status st;

    l.request = request;
    l.good = l.open = true;
    st = sg_text_trained_load(request->model, a->overrides, a->n_overrides, &load, &l.model);
    if (st != SG_OK) die(st, NULL);
    l.probabilities = sg_malloc(kGroup * (size_t)l.model.model.n_classes * sizeof(float));
    if (!l.probabilities) die(sg_fail(SG_ERR_OOM, "no memory for answers"), NULL);
    for (int i = 0; i < a->n_inputs && l.open; i++) answer_input(&l, a->inputs[i]);
    answer_texts(&l);
    for (int b = 0; b < kBlocks; b++) sg_line_clear(&l.line[b]);
    sg_free(l.probabilities);
    sg_text_trained_clear(&l.model);
    return l.good ? CLI_DONE : CLI_BAD_DATA;
}
