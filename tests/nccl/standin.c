/* What the library calls of NCCL, between threads of one process, with the rules that nccl.h and its
 * guide state checked: calls in groups, the same communicator throughout, peers in range, bytes that
 * both sides agree on, one after another per pair, nothing after an abort. Built by tests/nccl.rs. */

#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 8
#define PENDING 64

typedef struct { char bytes[128]; } unique_id;

/* A message under way: the sender's memory, until it is taken. */
typedef struct message {
    const void *data;
    size_t size;
    int taken;
    struct message *next;
} message;

typedef struct {
    char id[128];
    int size, arrived, aborted;
    message *mail[MOST][MOST]; /* [from][to], oldest first */
} group;

typedef struct {
    group *of;
    int rank, aborted;
} comm;

typedef struct {
    int receives, peer;
    void *data;
    size_t size;
    comm *by;
    message *sent;
} call;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static group *groups[64];
static int num_groups, wrong, live, sends, aborts;
static char first_wrong[256];
static _Thread_local call calls[PENDING];
static _Thread_local int depth, num_calls;

static int refuse(const char *what) {
    if (!wrong++)
        snprintf(first_wrong, sizeof first_wrong, "%s", what);
    return 4; /* ncclInvalidArgument */
}

const char *standin_wrong(void) { return first_wrong; }
int standin_live(void) { return live; }
int standin_sends(void) { return sends; }
int standin_aborts(void) { return aborts; }

const char *ncclGetErrorString(int code) {
    return code == 4 ? "invalid argument" : code == 6 ? "remote process exited" : "no error";
}

int ncclGetUniqueId(unique_id *out) {
    static int count;
    pthread_mutex_lock(&lock);
    memset(out, 0, sizeof *out);
    snprintf(out->bytes, sizeof out->bytes, "standin %d", ++count);
    out->bytes[127] = 42; /* all of it is carried */
    pthread_mutex_unlock(&lock);
    return 0;
}

int ncclCommInitRank(comm **out, int size, unique_id id, int rank) {
    if (id.bytes[127] != 42 || size < 2 || size > MOST || rank < 0 || rank >= size)
        return refuse("ncclCommInitRank: id, size or rank");
    pthread_mutex_lock(&lock);
    group *found = NULL;
    for (int i = 0; i < num_groups; i++)
        if (!memcmp(groups[i]->id, id.bytes, 128))
            found = groups[i];
    if (!found) {
        found = groups[num_groups++] = calloc(1, sizeof *found);
        memcpy(found->id, id.bytes, 128);
        found->size = size;
    }
    if (found->size != size)
        refuse("ncclCommInitRank: sizes differ");
    found->arrived++;
    live++;
    pthread_cond_broadcast(&changed);
    while (found->arrived < size)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    comm *made = calloc(1, sizeof *made);
    made->of = found;
    made->rank = rank;
    *out = made;
    return 0;
}

int ncclGroupStart(void) {
    if (depth++)
        return refuse("ncclGroupStart: within a group");
    num_calls = 0;
    return 0;
}

static int enqueue(int receives, void *data, size_t size, int type, int peer, comm *by, void *stream) {
    if (!depth)
        return refuse("ncclSend or ncclRecv: outside of a group");
    if (!by || by->aborted)
        return refuse("ncclSend or ncclRecv: no communicator, or an aborted one");
    if (!data || !size || type != 1 || stream)
        return refuse("ncclSend or ncclRecv: memory, size, ncclUint8 or stream");
    if (peer < 0 || peer >= by->of->size || peer == by->rank)
        return refuse("ncclSend or ncclRecv: peer");
    if (num_calls == PENDING)
        return refuse("ncclSend or ncclRecv: too many in a group");
    calls[num_calls++] = (call){receives, peer, data, size, by, NULL};
    return 0;
}

int ncclSend(const void *data, size_t size, int type, int peer, comm *by, void *stream) {
    return enqueue(0, (void *)(uintptr_t)data, size, type, peer, by, stream);
}

int ncclRecv(void *data, size_t size, int type, int peer, comm *by, void *stream) {
    return enqueue(1, data, size, type, peer, by, stream);
}

int ncclGroupEnd(void) {
    int result = 0;
    if (!depth--)
        return refuse("ncclGroupEnd: without a group");
    pthread_mutex_lock(&lock);
    for (int i = 0; i < num_calls; i++) {
        call *c = &calls[i];
        if (c->receives)
            continue;
        message *sent = calloc(1, sizeof *sent), **last = &c->by->of->mail[c->by->rank][c->peer];
        sent->data = c->data;
        sent->size = c->size;
        while (*last)
            last = &(*last)->next;
        *last = c->sent = sent;
        sends++;
    }
    pthread_cond_broadcast(&changed);
    for (int i = 0; i < num_calls; i++) {
        call *c = &calls[i];
        group *of = c->by->of;
        if (c->receives) {
            message **mail = &of->mail[c->peer][c->by->rank];
            while (!*mail && !of->aborted)
                pthread_cond_wait(&changed, &lock);
            if (!*mail) {
                result = 6;
                continue;
            }
            message *got = *mail;
            if (got->size != c->size)
                result = refuse("ncclRecv: as many bytes as were sent");
            else
                memcpy(c->data, got->data, c->size);
            *mail = got->next;
            got->taken = 1;
            pthread_cond_broadcast(&changed);
        }
    }
    for (int i = 0; i < num_calls; i++) {
        call *c = &calls[i];
        if (c->receives)
            continue;
        while (!c->sent->taken && !c->by->of->aborted)
            pthread_cond_wait(&changed, &lock);
        if (!c->sent->taken)
            result = 6;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int ncclCommGetAsyncError(comm *by, int *error) {
    if (!by || by->aborted)
        return refuse("ncclCommGetAsyncError: no communicator");
    *error = by->of->aborted ? 6 : 0;
    return 0;
}

static int end(comm *by, int aborts_it) {
    if (!by || by->aborted)
        return refuse("ncclCommAbort or ncclCommDestroy: no communicator, or twice");
    pthread_mutex_lock(&lock);
    by->aborted = 1;
    live--;
    aborts += aborts_it;
    by->of->aborted |= aborts_it;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return 0;
}

int ncclCommAbort(comm *by) { return end(by, 1); }
int ncclCommDestroy(comm *by) { return end(by, 0); }
