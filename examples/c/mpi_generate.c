/* generate.c, shared by processes that MPI connects, each with a device of its own:
 *   mpirun -n 2 mpi_generate "a red ball moves right on a black background" --output ball.mp4
 * All are started alike; the first one has the frames and writes them. */
#define _POSIX_C_SOURCE 200809L
#include <cogvideox.h>
#include <limits.h>
#include <mpi.h>

static int rank, ranks;
static cvx_error *share(cvx_load_options *options);
#define SHARE(options) (ranks > 1 ? share(options) : NULL)
#define HAS_FRAMES (rank == 0)
#define main generate_main
#include "generate.c"
#undef main

/* Each process gives every other one its part, and takes one from it. */
static int32_t all_to_all(const cvx_exchange_info *info, void *user_data) {
    MPI_Request pending[2048]; /* there are at most 1024 ranks */
    int count = 0, failed = 0;
    (void)user_data;
    for (int i = 0; i < info->num_ranks && !failed; i++) {
        int other = info->first_rank + i;
        uint64_t give = info->send_bytes[i], take = info->receive_bytes[i];
        failed = give > INT_MAX || take > INT_MAX;
        if (take && !failed)
            failed = MPI_Irecv(info->receive[i], (int)take, MPI_BYTE, other, 0, MPI_COMM_WORLD,
                               &pending[count++]);
        if (give && !failed)
            failed = MPI_Isend(info->send[i], (int)give, MPI_BYTE, other, 0, MPI_COMM_WORLD,
                               &pending[count++]);
    }
    return failed || MPI_Waitall(count, pending, MPI_STATUSES_IGNORE);
}

/* The others wait for this process: MPI ends them. */
static void give_up(const cvx_abort_info *info, void *user_data) {
    (void)user_data;
    fprintf(stderr, "generate: rank %d: %s\n", rank, info->message);
    MPI_Abort(MPI_COMM_WORLD, info->code == CVX_ERROR_CANCELLED ? 130 : 1);
}

static cvx_error *share(cvx_load_options *options) {
    cvx_communicator *mpi = NULL;
    cvx_error *error = cvx_communicator_new(rank, ranks, all_to_all, NULL, NULL, &mpi);
    if (!error)
        error = cvx_communicator_set_abort(mpi, give_up, NULL, NULL);
    keep(&error, cvx_load_options_set_communicator(options, mpi));
    cvx_communicator_free(mpi);
    return error;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int status = generate_main(argc, argv);
    MPI_Finalize();
    return status;
}
