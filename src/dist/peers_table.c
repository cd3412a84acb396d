/* The table of peers: those that are watched, and others who call. All of it under the lock. */
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/peers_inside.h"

static const double kForget = 5.0; /* times a silence */

sg_peer_entry *sg_peers_find(const sg_peers *p, const char *id) {
    for (sg_peer_entry *e = p->entry; e; e = e->next)
        if (strcmp(e->who.id, id) == 0) return e;
    return NULL;
}

sg_peer_entry *sg_peers_add(sg_peers *p, const sg_peer *who) {
    sg_peer_entry *e = sg_calloc(1, sizeof *e);

    if (!e) return NULL;
    e->who = *who;
    e->to.fd = e->from.fd = -1;
    e->heard_at = sg_now();
    e->next = p->entry;
    p->entry = e;
    return e;
}

void sg_peers_forget_said(sg_peer_entry *e, int64_t before) {
    for (int i = 0; i < SG_SAID_TOPICS; i++) {
        if (!e->said[i].there || e->said[i].epoch >= before) continue;
        sg_free(e->said[i].data);
        memset(&e->said[i], 0, sizeof e->said[i]);
    }
}

void sg_peers_clear_entry(sg_peer_entry *e) {
    sg_wire_close(&e->to);
    sg_wire_close(&e->from);
    sg_peers_forget_said(e, INT64_MAX);
}

void sg_peers_notice_lost(sg_peers *p, sg_peer_entry *e, bool gone, const char *why) {
    if (!e->watched || e->lost) return;
    e->lost = true;
    e->gone = gone;
    e->hung_up = e->hung_up || (gone && e->heard);
    p->alarmed = true;
    sg_log(SG_LOG_DEBUG, "peers: %s at %s is lost: %s", e->who.id, e->who.address, why);
    sg_wire_close(&e->to);
    pthread_cond_broadcast(&p->changed);
}

/* A connection that ended while this process was stopped may have been given up by the other. */
void sg_peers_notice_broken(sg_peers *p, sg_peer_entry *e, sg_wire *w) {
    bool gone = sg_wire_nobody(w) && !p->absent;
    const char *why = sg_wire_why(w);

    if (!sg_wire_nobody(w) && !e->warned) {
        sg_log(SG_LOG_WARN, "cannot reach worker %s at %s: %s", e->who.id, e->who.address, why);
        e->warned = true;
    }
    sg_peers_notice_lost(p, e, gone, why);
    sg_wire_close(w);
}

/* Whoever is there beats several times in a silence's time. */
static bool has_voice(const sg_peers *p, const sg_peer_entry *e) {
    return sg_wire_open(&e->from) && sg_now() - e->heard_at < kForget * p->options.silence;
}

void sg_peers_sweep(sg_peers *p) {
    sg_peer_entry **at = &p->entry;

    while (*at) {
        sg_peer_entry *e = *at;

        if (e->watched || has_voice(p, e)) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        sg_peers_clear_entry(e);
        sg_free(e);
    }
}

bool sg_peers_put(sg_peers *p, sg_peer_entry *e, sg_peer_frame kind, uint32_t topic,
                  const void *data, size_t bytes) {
    const sg_frame frame = {
        .kind = kind, .epoch = p->epoch, .topic = topic, .bytes = (uint32_t)bytes};

    return sg_wire_open(&e->to) && sg_wire_put(&e->to, frame, data);
}

void sg_peers_call(sg_peers *p, sg_peer_entry *e) {
    sg_peer_hello h = {.from = p->me};

    e->called = true;
    memcpy(h.to, e->who.id, sizeof h.to);
    if (!sg_wire_connect(&e->to, e->who.address) ||
        !sg_peers_put(p, e, SG_PEER_HELLO, 0, &h, sizeof h))
        sg_peers_notice_broken(p, e, &e->to);
}
