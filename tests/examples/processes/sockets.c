/* examples/c/generate.c in RANKS processes of this program's own making, which sockets connect:
 * what a host's communicator is without anything else on the machine. With DIE=R:N rank R ends in
 * its Nth exchange, with FAIL=R:N its exchange fails and it tells the others why, with CANCEL=R:N it
 * is interrupted then, as by Ctrl-C. */

#define _POSIX_C_SOURCE 200809L

#include <cogvideox.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int rank, ranks, calls, die_at = -1, fail_at = -1, cancel_at = -1;
static int sockets[8][8]; /* [own][other] */
static cvx_communicator *processes;
static cvx_error *share(cvx_load_options *options);

#define SHARE(options) share(options)
#define HAS_FRAMES (rank == 0)
#define main generate_main
#include "generate.c"
#undef main

/* A message begins with 0; with 1 comes why the sender failed, as code and text. */
static int put(int to, const void *data, size_t size) {
    for (const char *at = data; size;) {
        ssize_t done = write(to, at, size);
        if (done <= 0)
            return 1;
        at += done;
        size -= (size_t)done;
    }
    return 0;
}

static int get(int from, void *data, size_t size) {
    for (char *at = data; size;) {
        ssize_t done = read(from, at, size);
        if (done <= 0)
            return 1;
        at += done;
        size -= (size_t)done;
    }
    return 0;
}

static int take(int from, void *data, size_t size) {
    char kind, message[512];
    int32_t code;
    if (get(from, &kind, 1))
        return 1;
    if (!kind)
        return get(from, data, size);
    if (!get(from, &code, sizeof code) && !get(from, message, sizeof message))
        cvx_error_free(cvx_communicator_abort(processes, code, message));
    return 1;
}

static int32_t all_to_all(const cvx_exchange_info *info, void *user_data) {
    int own = rank - info->first_rank;
    char fine = 0;
    (void)user_data;
    if (calls == die_at)
        _exit(3);
    if (calls == cancel_at)
        raise(SIGINT);
    if (calls++ == fail_at)
        return 7;
    for (int step = 1; step < info->num_ranks; step++) {
        int other = own ^ step, to = sockets[rank][info->first_rank + other];
        /* The lower one sends first, so that not both wait for room. */
        for (int turn = 0; turn < 2; turn++) {
            if ((turn == 0) == (own < other)) {
                if (info->send_bytes[other] &&
                    (put(to, &fine, 1) || put(to, info->send[other], info->send_bytes[other]))) {
                    take(to, &fine, 0); /* it is gone, and may have said why */
                    return 1;
                }
            } else if (info->receive_bytes[other] &&
                       take(to, info->receive[other], info->receive_bytes[other])) {
                return 1;
            }
        }
    }
    return 0;
}

static void tell(const cvx_abort_info *info, void *user_data) {
    char failed = 1, message[512] = {0};
    (void)user_data;
    snprintf(message, sizeof message, "%s", info->message);
    for (int other = 0; other < ranks; other++) {
        if (other == rank)
            continue;
        put(sockets[rank][other], &failed, 1);
        put(sockets[rank][other], &info->code, sizeof info->code);
        put(sockets[rank][other], message, sizeof message);
        shutdown(sockets[rank][other], SHUT_WR);
    }
}

static cvx_error *share(cvx_load_options *options) {
    cvx_error *error = cvx_communicator_new(rank, ranks, all_to_all, NULL, NULL, &processes);
    if (!error)
        error = cvx_communicator_set_abort(processes, tell, NULL, NULL);
    if (!error)
        error = cvx_load_options_set_communicator(options, processes);
    return error;
}

static void of_rank(const char *name, int *at) {
    const char *text = getenv(name);
    int who, when;
    if (text && sscanf(text, "%d:%d", &who, &when) == 2 && who == rank)
        *at = when;
}

int main(int argc, char **argv) {
    int status = 0, failed = 0;
    const char *count = getenv("RANKS");
    ranks = count ? atoi(count) : 2;
    if (ranks < 2 || ranks > 8)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    for (int a = 0; a < ranks; a++)
        for (int b = a + 1; b < ranks; b++) {
            int pair[2];
            if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
                return 1;
            sockets[a][b] = pair[0];
            sockets[b][a] = pair[1];
        }
    /* Before anything of the library's is used. */
    for (int child = 1; child < ranks && !rank; child++)
        if (!fork())
            rank = child;
    /* An end that is open elsewhere would not be seen to close. */
    for (int a = 0; a < ranks; a++)
        for (int b = 0; b < ranks; b++)
            if (a != b && a != rank)
                close(sockets[a][b]);
    of_rank("DIE", &die_at);
    of_rank("FAIL", &fail_at);
    of_rank("CANCEL", &cancel_at);
    failed = generate_main(argc, argv);
    cvx_communicator_free(processes);
    if (rank)
        _exit(failed);
    /* Whoever reads from this process sees its end now, not after the wait for it. */
    for (int other = 1; other < ranks; other++)
        close(sockets[0][other]);
    while (wait(&status) > 0)
        fprintf(stderr, "rank ended: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return failed;
}
