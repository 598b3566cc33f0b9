/* A program that ends while a job runs, in C: nothing is freed, or the job alone.
 * Arguments: which of them, and after how many milliseconds. */
#include <cogvideox.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int failed(cvx_error *error) {
    int code = cvx_error_code(error);
    cvx_error_free(error);
    return code != CVX_OK;
}

int main(int count, char **arguments) {
    cvx_pipeline *pipeline = NULL;
    cvx_generate_options *options = cvx_generate_options_new();
    cvx_job *job = NULL;
    struct timespec wait = {0, 0};
    if (count != 3 || failed(cvx_pipeline_load("tests/pipelines/2b", NULL, &pipeline)) ||
        failed(cvx_generate_options_set_size(options, 64, 64)) ||
        failed(cvx_generate_options_set_num_frames(options, 9)) ||
        failed(cvx_generate_options_set_num_inference_steps(options, 500)) ||
        failed(cvx_pipeline_submit(pipeline, options, NULL, NULL, NULL, &job))) {
        return 1;
    }
    wait.tv_nsec = atol(arguments[2]) * 1000000L;
    nanosleep(&wait, NULL);
    if (strcmp(arguments[1], "freed") == 0) {
        cvx_job_free(job);
        cvx_pipeline_free(pipeline);
        cvx_generate_options_free(options);
    }
    exit(7);
}
