/* A watch of all keys of a prefix, by a thread of its own: what etcd streams goes into a pipe,
 * unread, and that there is something in the pipe is the hint. It may come too often, late, or not
 * at all: whoever is hinted looks, and polls beside. So nothing is made of a stream that breaks off
 * but that another endpoint is asked after a moment; and a stream that has fallen silent, perhaps
 * because a cable was pulled, is asked for anew each minute. Polling alone would do, but what is
 * needed within milliseconds would be asked for a thousand times a minute. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/threads.h"
#include "dist/etcd.h"

static const double kStream = 60.0, kPause = 1.0, kConnect = 0.5; /* seconds */

struct sg_etcd_watch {
    char *url[SG_ETCD_ENDPOINTS]; /* owned */
    int n, first;
    char *body; /* owned by jansson: free() */
    int pipe[2];
    sg_web *web; /* owned */
    pthread_t thread;
    bool started;
};

static void *follow(void *context) {
    sg_etcd_watch *w = context;

    for (int i = w->first; !sg_web_is_cancelled(w->web);) {
        sg_web_request request = {.method = "POST",
                                  .url = w->url[i],
                                  .body = w->body,
                                  .body_bytes = strlen(w->body),
                                  .connect_seconds = kConnect,
                                  .total_seconds = kStream,
                                  .to_file = true,
                                  .file = w->pipe[1],
                                  .direct = true};
        double start = sg_now();
        sg_web_answer answer;

        /* an error as often as not: it ends when the minute is over */
        if (sg_web_perform(w->web, &request, &answer) == SG_ERR_INTERRUPTED) break;
        if (sg_now() - start >= kStream) continue;
        i = (i + 1) % w->n;
        if (sg_web_pause(w->web, kPause) != SG_OK) break;
    }
    return NULL;
}

/* "/spotgrad/" up to "/spotgrad0": '0' follows '/'. free() it. */
static char *request_of(const char *prefix) {
    char from[SG_ETCD_PREFIX + 1], key[SG_BASE64_BYTES(sizeof from)], end[sizeof key];
    int length = snprintf(from, sizeof from, "%s/", prefix);
    json_t *root;
    char *text;

    sg_base64_encode(from, (size_t)length, key);
    from[length - 1] = '0';
    sg_base64_encode(from, (size_t)length, end);
    root = json_pack("{s:{s:s,s:s}}", "create_request", "key", key, "range_end", end);
    text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

static sg_status set_up(sg_etcd_watch *w, const sg_etcd *etcd) {
    bool fine = true;

    w->first = etcd->current;

    for (int i = 0; i < etcd->n && fine; i++) {
        w->url[i] = sg_str_printf("%s/v3/watch", etcd->endpoint[i]);
        fine = w->url[i] != NULL;
        w->n += fine;
    }
    w->body = request_of(etcd->prefix);
    if (!fine || !w->body) return sg_fail(SG_ERR_OOM, "%s: no memory to watch it", etcd->url);
    /* a full pipe holds nobody: the stream ends then, and begins anew */
    if (pipe2(w->pipe, O_NONBLOCK | O_CLOEXEC) != 0)
        return sg_fail(SG_ERR_IO, "%s: cannot watch it: no pipe", etcd->url);
    return sg_web_create(&w->web);
}

sg_status sg_etcd_watch_create(const sg_etcd *etcd, sg_etcd_watch **out) {
    sg_etcd_watch *w = sg_calloc(1, sizeof *w);
    sg_status st;
    int failed;

    if (!w) return sg_fail(SG_ERR_OOM, "%s: no memory to watch it", etcd->url);
    w->pipe[0] = w->pipe[1] = -1;
    st = set_up(w, etcd);
    if (st == SG_OK) {
        failed = pthread_create(&w->thread, NULL, follow, w); /* signals: as its maker */
        w->started = !failed;
        if (failed)
            st = sg_fail(SG_ERR_OOM, "%s: cannot start a thread: %s", etcd->url, strerror(failed));
    }
    if (st == SG_OK)
        *out = w;
    else
        sg_etcd_watch_destroy(w);
    return st;
}

void sg_etcd_watch_destroy(sg_etcd_watch *w) {
    if (!w) return;
    if (w->started) {
        sg_web_cancel(w->web);
        pthread_join(w->thread, NULL);
    }
    sg_web_destroy(w->web);
    for (int i = 0; i < 2; i++)
        if (w->pipe[i] >= 0) close(w->pipe[i]);
    free(w->body);
    for (int i = 0; i < w->n; i++) sg_free(w->url[i]);
    sg_free(w);
}

int sg_etcd_watch_hint(const sg_etcd_watch *w) { return w->pipe[0]; }
