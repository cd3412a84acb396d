/* Peers from the inside: one table of them, under one lock. Shared by peers.c (what the program
 * asks for), peers_table.c (the entries) and peers_thread.c (who listens and speaks). */
#ifndef SG_DIST_PEERS_INSIDE_H
#define SG_DIST_PEERS_INSIDE_H

#include <poll.h>
#include <pthread.h>

#include "dist/peers.h"

typedef enum { SG_PEER_HELLO, SG_PEER_BEAT, SG_PEER_SAID } sg_peer_frame;

/* The first frame of a connection: who calls whom. */
typedef struct {
    sg_peer from;
    char to[SG_MEMBER_ID_BYTES];
} sg_peer_hello;

typedef struct {
    uint32_t asking; /* to be taken in */
} sg_peer_beat;

typedef struct {
    bool there;
    int64_t epoch;
    uint8_t *data; /* owned */
    size_t bytes;
} sg_peer_said;

typedef struct sg_peer_entry {
    sg_peer who;
    bool watched, lost, heard;
    bool gone;    /* lost, as nobody is there any more */
    bool hung_up; /* gone after it was heard, and not heard since */
    bool called;  /* a connection to it was begun */
    bool warned;  /* that there is no way to it */
    sg_wire to, from;
    double heard_at; /* or watched since */
    bool asking;
    sg_peer_said said[SG_SAID_TOPICS];
    struct sg_peer_entry *next;
} sg_peer_entry;

/* Accepted, and not yet known who it is. */
typedef struct sg_peer_stranger {
    sg_wire wire;
    struct sg_peers *peers;
    char id[SG_MEMBER_ID_BYTES]; /* once it has said so */
    double since;
    struct sg_peer_stranger *next;
} sg_peer_stranger;

struct sg_peers {
    sg_peer me;
    sg_peers_options options;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int listener, wake; /* fds */
    bool stop, asking, alarmed;
    bool absent; /* this process was stopped itself, and has not listened */
    bool full;   /* no file or memory is left for those who call: they wait until the next beat */
    int64_t epoch, latest;
    sg_peer_entry *entry;
    sg_peer_stranger *stranger;
    double next_beat, last_round, interval;
    struct pollfd *poll; /* owned; grows */
    size_t poll_room;
};

/* ---- entries, under the lock (peers_table.c) ---- */

sg_peer_entry *sg_peers_find(const sg_peers *p, const char *id); /* NULL: there is none */
sg_peer_entry *sg_peers_add(sg_peers *p, const sg_peer *who);    /* NULL: no memory */
void sg_peers_forget_said(sg_peer_entry *e, int64_t before);     /* of epochs before that */
void sg_peers_clear_entry(sg_peer_entry *e);                     /* close it, forget all */
/* If it is watched, it is lost from now on; `gone`: nobody is there any more. */
void sg_peers_notice_lost(sg_peers *p, sg_peer_entry *e, bool gone, const char *why);
/* The same for what is wrong with one of its connections, which is closed. */
void sg_peers_notice_broken(sg_peers *p, sg_peer_entry *e, sg_wire *w);
/* Free entries that nobody watches and from which nobody speaks, or has for long: of a machine that
 * lost its power no connection ever ends. */
void sg_peers_sweep(sg_peers *p);
/* Queue a frame. false: it is not connected, or no memory. */
bool sg_peers_put(sg_peers *p, sg_peer_entry *e, sg_peer_frame kind, uint32_t topic,
                  const void *data, size_t bytes);
void sg_peers_call(sg_peers *p, sg_peer_entry *e); /* begin to speak to it */

/* ---- the thread (peers_thread.c) ---- */

/* Of pthread_create, with the sg_peers: until its `stop`. */
void *sg_peers_thread(void *peers);

#endif
