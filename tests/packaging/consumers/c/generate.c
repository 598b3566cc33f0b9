/* A program outside the checkout: generates a short video and writes its frames, three bytes a
 * pixel, to a file.
 *
 *   generate PIPELINE_FOLDER FILE */

#include <cogvideox.h>

#include <stdio.h>

static int failed(cvx_error *error) {
    if (error == NULL)
        return 0;
    fprintf(stderr, "generate: %s\n", cvx_error_message(error));
    cvx_error_free(error);
    return 1;
}

static int write_frames(const cvx_video *video, const char *path) {
    const uint8_t *data = NULL;
    size_t stride = 0;
    if (failed(cvx_video_frames_rgb8(video, 0, &data, &stride)))
        return 1;
    size_t rows = (size_t)cvx_video_num_frames(video) * (size_t)cvx_video_height(video);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, stride, rows, file) != rows || fclose(file) != 0) {
        perror(path);
        return 1;
    }
    printf("%d frames of %d x %d\n", (int)cvx_video_num_frames(video), (int)cvx_video_width(video),
           (int)cvx_video_height(video));
    return 0;
}

int main(int argc, char **argv) {
    cvx_pipeline *pipeline = NULL;
    cvx_video *video = NULL;
    cvx_generate_options *options = cvx_generate_options_new();
    if (argc != 3) {
        fprintf(stderr, "usage: generate PIPELINE_FOLDER FILE\n");
        return 2;
    }
    int status =
        failed(cvx_abi_check(CVX_ABI_VERSION)) || failed(cvx_pipeline_load(argv[1], NULL, &pipeline)) ||
        failed(cvx_generate_options_set_prompt(options, "a red ball moves right on a black background")) ||
        failed(cvx_generate_options_set_num_inference_steps(options, 3)) ||
        failed(cvx_generate_options_set_seed(options, 7)) ||
        failed(cvx_pipeline_generate(pipeline, options, &video)) || write_frames(video, argv[2]);
    cvx_video_free(video);
    cvx_pipeline_free(pipeline);
    cvx_generate_options_free(options);
    return status;
}
