/* VOC annotations through expat.
 *
 * A stack remembers what each open element means; only elements at their proper place mean
 * anything (a person's <part> has a <bndbox> too). The first refusal stops the parser. */
#include "data/voc.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <expat.h>

#include "core/file.h"
#include "core/mem.h"

typedef enum {
    OTHER,
    ROOT, /* above the document's element */
    ANNOTATION,
    SIZE,
    WIDTH,
    HEIGHT,
    OBJECT,
    NAME,
    BNDBOX,
    XMIN,
    YMIN,
    XMAX,
    YMAX,
} element;

static const struct {
    element parent;
    const char *name;
    element meaning;
} grammar[] = {
    {ROOT, "annotation", ANNOTATION}, {ANNOTATION, "size", SIZE}, {ANNOTATION, "object", OBJECT},
    {SIZE, "width", WIDTH},           {SIZE, "height", HEIGHT},   {OBJECT, "name", NAME},
    {OBJECT, "bndbox", BNDBOX},       {BNDBOX, "xmin", XMIN},     {BNDBOX, "ymin", YMIN},
    {BNDBOX, "xmax", XMAX},           {BNDBOX, "ymax", YMAX},
};

enum {
    kTextBytes = 512,
    kFirstObjects = 8,
    kMaxDigits = 15, /* as many decimal digits as a double holds exactly */
    kMaxPixel = 10000000,
};

typedef struct {
    const char *path;
    XML_Parser parser;
    sg_voc *voc;
    int64_t capacity;
    element stack[SG_VOC_MAX_DEPTH + 1];
    int depth;
    unsigned seen; /* bit e: element e was read (in this object, or in <size>) */
    char text[SG_VOC_MAX_TEXT + 1];
    size_t length;
    sg_status status;
} job;

/* expat's realloc does not say the old size: it stands before each block */
static void *expat_malloc(size_t bytes) {
    uint8_t *block = bytes > SIZE_MAX - SG_ALIGN ? NULL : sg_malloc(bytes + SG_ALIGN);

    if (!block) return NULL;
    memcpy(block, &bytes, sizeof bytes);
    return block + SG_ALIGN;
}

static void expat_free(void *block) {
    if (block) sg_free((uint8_t *)block - SG_ALIGN);
}

static void *expat_realloc(void *block, size_t bytes) {
    void *larger = expat_malloc(bytes);
    size_t old;

    if (!larger || !block) return larger;
    memcpy(&old, (uint8_t *)block - SG_ALIGN, sizeof old);
    memcpy(larger, block, old < bytes ? old : bytes);
    expat_free(block);
    return larger;
}

static int line_of(const job *j) { return (int)XML_GetCurrentLineNumber(j->parser); }

static void refuse(job *j, sg_status status, int line, const char *fmt, ...) SG_PRINTF(4, 5);
static void refuse(job *j, sg_status status, int line, const char *fmt, ...) {
    char reason[kTextBytes];
    va_list args;

    if (j->status != SG_OK) return;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    j->status = sg_fail(status, "%s:%d: %s", j->path, line, reason);
    XML_StopParser(j->parser, XML_FALSE);
}

static const char *name_of(element e) {
    for (size_t i = 0; i < sizeof grammar / sizeof *grammar; i++)
        if (grammar[i].meaning == e) return grammar[i].name;
    return "?";
}

/* Sign, digits, point, digits; nothing else and no locale. */
static bool parse_number(const char *s, double *out) {
    double mantissa = 0.0, divisor = 1.0;
    bool negative = *s == '-';
    int digits = 0;

    if (*s == '-' || *s == '+') s++;
    for (; *s >= '0' && *s <= '9'; s++, digits++) mantissa = mantissa * 10.0 + (*s - '0');
    if (*s == '.') {
        for (s++; *s >= '0' && *s <= '9'; s++, digits++) {
            if (digits >= kMaxDigits) continue;
            mantissa = mantissa * 10.0 + (*s - '0');
            divisor *= 10.0;
        }
    }
    if (*s != '\0' || digits == 0) return false;
    *out = (negative ? -mantissa : mantissa) / divisor;
    return true;
}

static void trim(job *j) {
    char *start = j->text;

    while (j->length > 0 && strchr(" \t\r\n", start[j->length - 1])) j->length--;
    start[j->length] = '\0';
    while (*start && strchr(" \t\r\n", *start)) start++;
    memmove(j->text, start, strlen(start) + 1);
}

static void add_object(job *j) {
    sg_voc *voc = j->voc;

    if (voc->n == SG_VOC_MAX_OBJECTS) {
        refuse(j, SG_ERR_DATA, line_of(j), "more than %d objects", SG_VOC_MAX_OBJECTS);
        return;
    }
    if (voc->n == j->capacity) {
        int64_t capacity = j->capacity ? 2 * j->capacity : kFirstObjects;
        size_t unit = sizeof *voc->objects;
        sg_voc_object *larger =
            sg_realloc(voc->objects, (size_t)voc->n * unit, (size_t)capacity * unit);

        if (!larger) {
            refuse(j, SG_ERR_OOM, line_of(j), "no memory for %lld objects", (long long)capacity);
            return;
        }
        voc->objects = larger;
        j->capacity = capacity;
    }
    voc->objects[voc->n++] = (sg_voc_object){.line = line_of(j)};
    j->seen = 0;
}

static bool is_field(element e) { return e == WIDTH || e == HEIGHT || e == NAME || e >= XMIN; }

static void XMLCALL on_start(void *context, const XML_Char *name, const XML_Char **attributes) {
    job *j = context;
    element parent = j->stack[j->depth], meaning = OTHER;

    (void)attributes;
    if (j->depth == SG_VOC_MAX_DEPTH) {
        refuse(j, SG_ERR_DATA, line_of(j), "elements nested deeper than %d", SG_VOC_MAX_DEPTH);
        return;
    }
    for (size_t i = 0; i < sizeof grammar / sizeof *grammar; i++)
        if (grammar[i].parent == parent && strcmp(grammar[i].name, name) == 0)
            meaning = grammar[i].meaning;
    if (parent == ROOT && meaning != ANNOTATION) {
        refuse(j, SG_ERR_DATA, line_of(j), "<%.40s> is not a VOC <annotation>", name);
        return;
    }
    if (is_field(parent)) {
        refuse(j, SG_ERR_DATA, line_of(j), "<%.40s> inside <%s>", name, name_of(parent));
        return;
    }
    j->stack[++j->depth] = meaning;
    j->length = 0;
    if (meaning == OBJECT) add_object(j);
    if (meaning == SIZE) {
        if (j->voc->size_line)
            refuse(j, SG_ERR_DATA, line_of(j), "a second <size>, the first is on line %d",
                   j->voc->size_line);
        j->voc->size_line = line_of(j);
        j->seen = 0;
    }
}

static void XMLCALL on_text(void *context, const XML_Char *text, int length) {
    job *j = context;
    element e = j->stack[j->depth];

    if (!is_field(e)) return;
    if ((size_t)length > SG_VOC_MAX_TEXT - j->length) {
        refuse(j, SG_ERR_DATA, line_of(j), "<%s> is longer than %d bytes", name_of(e),
               SG_VOC_MAX_TEXT);
        return;
    }
    memcpy(j->text + j->length, text, (size_t)length);
    j->length += (size_t)length;
}

static void read_name(job *j) {
    sg_voc_object *object = &j->voc->objects[j->voc->n - 1];

    if (!*j->text) {
        refuse(j, SG_ERR_DATA, line_of(j), "an object with an empty <name>");
        return;
    }
    for (const char *c = j->text; *c; c++) {
        if ((unsigned char)*c >= 0x20 && *c != 0x7F) continue;
        refuse(j, SG_ERR_DATA, line_of(j), "<name> has a control byte or more than one line");
        return;
    }
    object->name = sg_strdup(j->text);
    if (!object->name) refuse(j, SG_ERR_OOM, line_of(j), "no memory for a name");
}

static void read_number(job *j, element e) {
    bool is_size = e == WIDTH || e == HEIGHT;
    double value;

    if (!parse_number(j->text, &value)) {
        refuse(j, SG_ERR_DATA, line_of(j), "<%s> is `%.40s`, not a number", name_of(e), j->text);
        return;
    }
    if (value > kMaxPixel || value < (is_size ? 0 : -kMaxPixel)) {
        refuse(j, SG_ERR_DATA, line_of(j), "<%s> is %.40s, out of range", name_of(e), j->text);
        return;
    }
    if (is_size && value != (double)(int64_t)value) {
        refuse(j, SG_ERR_DATA, line_of(j), "<%s> is %.40s, not a whole number", name_of(e),
               j->text);
        return;
    }
    if (e == WIDTH) j->voc->width = (int64_t)value;
    if (e == HEIGHT) j->voc->height = (int64_t)value;
    if (!is_size) j->voc->objects[j->voc->n - 1].box[e - XMIN] = value;
}

static void require(job *j, int line, const char *owner, const element *fields, int n) {
    for (int i = 0; i < n; i++)
        if (!(j->seen & 1u << fields[i]))
            refuse(j, SG_ERR_DATA, line, "%s without <%s>", owner, name_of(fields[i]));
}

static void XMLCALL on_end(void *context, const XML_Char *name) {
    static const element of_object[] = {NAME, BNDBOX, XMIN, YMIN, XMAX, YMAX};
    static const element of_size[] = {WIDTH, HEIGHT};
    job *j = context;
    element e = j->stack[j->depth--];

    (void)name;
    if (j->status != SG_OK || e == OTHER || e == ANNOTATION) return;
    if (e != OBJECT && e != SIZE) {
        if (j->seen & 1u << e) {
            refuse(j, SG_ERR_DATA, line_of(j), "a second <%s>", name_of(e));
            return;
        }
        j->seen |= 1u << e;
    }
    trim(j);
    if (e == OBJECT)
        require(j, j->voc->objects[j->voc->n - 1].line, "an object", of_object, 6);
    else if (e == SIZE)
        require(j, j->voc->size_line, "<size>", of_size, 2);
    else if (e == NAME)
        read_name(j);
    else if (e != BNDBOX)
        read_number(j, e);
}

static void XMLCALL on_doctype(void *context, const XML_Char *name, const XML_Char *system_id,
                               const XML_Char *public_id, int internal) {
    job *j = context;

    (void)name;
    (void)system_id;
    (void)public_id;
    (void)internal;
    refuse(j, SG_ERR_DATA, line_of(j), "a DOCTYPE, which annotations must not have; delete it");
}

static void expat_failure(job *j) {
    enum XML_Error code = XML_GetErrorCode(j->parser);
    int line = line_of(j);

    switch (code) {
    case XML_ERROR_NO_MEMORY:
        refuse(j, SG_ERR_OOM, line, "no memory to read the annotation");
        break;
    case XML_ERROR_NO_ELEMENTS:
    case XML_ERROR_UNCLOSED_TOKEN:
    case XML_ERROR_PARTIAL_CHAR:
    case XML_ERROR_UNCLOSED_CDATA_SECTION:
        refuse(j, SG_ERR_DATA, line, "the XML is cut off");
        break;
    default:
        refuse(j, SG_ERR_DATA, line, "not valid XML: %s", XML_ErrorString(code));
        break;
    }
}

sg_status sg_voc_parse(const char *path, const char *text, size_t size, sg_voc *out) {
    static const XML_Memory_Handling_Suite memory = {expat_malloc, expat_realloc, expat_free};
    sg_voc voc = {0};
    job j = {.path = path, .voc = &voc, .status = SG_OK};

    if (size > SG_VOC_MAX_BYTES)
        return sg_fail(SG_ERR_DATA, "%s: larger than %d bytes", path, SG_VOC_MAX_BYTES);
    if (size == 0) return sg_fail(SG_ERR_DATA, "%s: is empty (0 bytes), not an annotation", path);
    j.parser = XML_ParserCreate_MM(NULL, &memory, NULL);
    if (!j.parser) return sg_fail(SG_ERR_OOM, "%s: no memory to read the annotation", path);
    j.stack[0] = ROOT;
    XML_SetUserData(j.parser, &j);
    XML_SetElementHandler(j.parser, on_start, on_end);
    XML_SetCharacterDataHandler(j.parser, on_text);
    XML_SetStartDoctypeDeclHandler(j.parser, on_doctype);
    if (XML_Parse(j.parser, text, (int)size, XML_TRUE) != XML_STATUS_OK) expat_failure(&j);
    XML_ParserFree(j.parser);
    if (j.status != SG_OK) {
        sg_voc_clear(&voc);
        return j.status;
    }
    *out = voc;
    return SG_OK;
}

sg_status sg_voc_read(const char *path, sg_voc *out) {
    uint8_t *data;
    size_t size;
    sg_status st;

    SG_TRY(sg_file_check(path));
    SG_TRY(sg_file_read(path, SG_VOC_MAX_BYTES, &data, &size));
    st = sg_voc_parse(path, (const char *)data, size, out);
    sg_free(data);
    return st;
}

void sg_voc_clear(sg_voc *voc) {
    for (int64_t i = 0; i < voc->n; i++) sg_free(voc->objects[i].name);
    sg_free(voc->objects);
    *voc = (sg_voc){0};
}
