/* The frames of a run through the C functions alone, for the parity test: writes RGB8, RGBA8 and
 * float32 frames and the latents, one after another, to a file.
 *
 *   frames FOLDER TECHNIQUE-OR-none STEPS SEED OUTPUT */

#include <cogvideox.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(cvx_error *error) {
    if (!error) return;
    fprintf(stderr, "%s\n", cvx_error_message(error));
    exit(1);
}

static void put(FILE *file, const void *data, size_t size) {
    if (fwrite(data, 1, size, file) != size) {
        perror("frames");
        exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    cvx_load_options *load = cvx_load_options_new();
    check(cvx_load_options_set_device(load, "cpu"));
    cvx_pipeline *pipeline = NULL;
    check(cvx_pipeline_load(argv[1], load, &pipeline));
    cvx_cache_config *cache = NULL;
    if (strcmp(argv[2], "none") != 0) {
        check(cvx_cache_config_new(argv[2], NULL, &cache));
        check(cvx_pipeline_enable_cache(pipeline, cache));
    }
    cvx_generate_options *options = cvx_generate_options_new();
    check(cvx_generate_options_set_prompt(options, "a red ball"));
    check(cvx_generate_options_set_size(options, 32, 32));
    check(cvx_generate_options_set_num_frames(options, 9));
    check(cvx_generate_options_set_num_inference_steps(options, atoi(argv[3])));
    check(cvx_generate_options_set_max_sequence_length(options, 8));
    check(cvx_generate_options_set_seed(options, strtoull(argv[4], NULL, 10)));
    cvx_video *video = NULL;
    check(cvx_pipeline_generate(pipeline, options, &video));

    FILE *file = fopen(argv[5], "wb");
    if (!file) return 1;
    size_t rows = (size_t)cvx_video_num_frames(video) * (size_t)cvx_video_height(video), stride;
    const uint8_t *bytes;
    const float *numbers;
    check(cvx_video_frames_rgb8(video, 0, &bytes, &stride));
    put(file, bytes, rows * stride);
    check(cvx_video_frames_rgba8(video, 0, &bytes, &stride));
    put(file, bytes, rows * stride);
    check(cvx_video_frames_f32(video, 0, &numbers, &stride));
    put(file, numbers, rows * stride);
    int64_t shape[5];
    check(cvx_video_latents(video, &numbers, shape));
    put(file, numbers, (size_t)(shape[0] * shape[1] * shape[2] * shape[3] * shape[4]) * sizeof *numbers);
    if (fclose(file) != 0) return 1;

    cvx_video_free(video);
    cvx_generate_options_free(options);
    cvx_cache_config_free(cache);
    cvx_pipeline_free(pipeline);
    cvx_load_options_free(load);
    return 0;
}
