#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "train/export.h"

/* Of repeated keys the last counts. */
static const char *const kOnCpu[] = {"run.device=cpu", "train.precision=auto"};
enum { kOnCpuKeys = sizeof kOnCpu / sizeof kOnCpu[0] };

static sg_status put_overrides(sg_export_source *s, const char *const *overrides, int n) {
    s->overrides = sg_calloc((size_t)n + kOnCpuKeys, sizeof *s->overrides);
    if (!s->overrides) return sg_fail(SG_ERR_OOM, "%s: no memory", s->named);
    for (int i = 0; i < n; i++) s->overrides[i] = overrides[i];
    for (int i = 0; i < kOnCpuKeys; i++) s->overrides[n + i] = kOnCpu[i];
    return SG_OK;
}

static sg_status hold(sg_export_source *s) {
    SG_TRY(sg_file_check(s->named)); /* opening a pipe might never end */
    s->fd = open(s->named, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0)
        return sg_fail(errno == ENOENT || errno == ENOTDIR ? SG_ERR_MISSING : SG_ERR_IO,
                       "%s: cannot open: %s", s->named, strerror(errno));
    s->held = sg_str_printf("/proc/self/fd/%d", s->fd);
    if (!s->held) return sg_fail(SG_ERR_OOM, "%s: no memory", s->named);
    if (sg_same_file(s->held, s->named) || sg_file_exists(s->held)) return SG_OK;
    sg_free(s->held); /* no /proc */
    s->held = sg_strdup(s->named);
    return s->held ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory", s->named);
}

sg_status sg_export_open(const char *path, const char *const *overrides, int n_overrides,
                         sg_export_source *out) {
    sg_export_source s = {.named = path, .fd = -1};
    sg_status st = put_overrides(&s, overrides, n_overrides);

    if (st == SG_OK) st = hold(&s);
    if (st != SG_OK) {
        sg_export_close(&s);
        return st;
    }
    s.file = (sg_trained_source){s.held, s.overrides, n_overrides + kOnCpuKeys};
    *out = s;
    return SG_OK;
}

void sg_export_close(sg_export_source *s) {
    if (s->fd >= 0) close(s->fd);
    sg_free(s->held);
    sg_free(s->overrides);
    *s = (sg_export_source){.fd = -1};
}

sg_status sg_export_named(const sg_export_source *s, sg_status st) {
    size_t from = 0, length = strlen(s->held);

    while (st != SG_OK && from < strlen(sg_last_error())) {
        const char *text = sg_last_error(), *at = strstr(text + from, s->held);

        if (!at) break;
        from = (size_t)(at - text) + strlen(s->named);
        st = sg_fail(st, "%.*s%s%s", (int)(at - text), text, s->named, at + length);
    }
    return st;
}
