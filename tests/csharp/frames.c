/* The C side of ParityTests.cs: generates, and writes frames as rgb8, rgba8 and f32 and the
 * latents to one file.
 *
 *   frames MODEL PROMPT none|pab|faster_cache FILE
 */
#include <cogvideox.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(cvx_error *error) {
    if (error == NULL) return;
    fprintf(stderr, "frames: %s\n", cvx_error_message(error));
    cvx_error_free(error);
    exit(1);
}

static double timestep(const cvx_step_info *info, void *user_data) {
    (void)user_data;
    return info->timestep * 0.75;
}

static double weight(const cvx_layer_info *info, void *user_data) {
    (void)user_data;
    return 0.25 + 0.125 * info->layer + 0.03125 * info->step;
}

static void write_all(FILE *file, const void *data, size_t size) {
    if (fwrite(data, 1, size, file) == size) return;
    perror("frames");
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    cvx_pipeline *pipeline = NULL;
    check(cvx_pipeline_load(argv[1], NULL, &pipeline));

    if (strcmp(argv[3], "none") != 0) {
        cvx_cache_config *config = NULL;
        check(cvx_cache_config_new(argv[3], NULL, &config));
        check(cvx_cache_config_set_current_timestep_callback(config, timestep, NULL, NULL));
        if (strcmp(argv[3], "faster_cache") == 0)
            check(cvx_cache_config_set_attention_weight_callback(config, weight, NULL, NULL));
        check(cvx_pipeline_enable_cache(pipeline, config));
        cvx_cache_config_free(config);
    }

    cvx_generate_options *options = cvx_generate_options_new();
    check(cvx_generate_options_set_prompt(options, argv[2]));
    check(cvx_generate_options_set_negative_prompt(options, "blau"));
    check(cvx_generate_options_set_num_inference_steps(options, 12));
    check(cvx_generate_options_set_seed(options, 0xfedcba9876543210u));
    check(cvx_generate_options_set_guidance_scale(options, 4.5));
    cvx_video *video = NULL;
    check(cvx_pipeline_generate(pipeline, options, &video));

    FILE *file = fopen(argv[4], "wb");
    if (file == NULL) {
        perror("frames");
        return 1;
    }
    size_t pixels = (size_t)cvx_video_num_frames(video) * (size_t)cvx_video_width(video) *
                    (size_t)cvx_video_height(video);
    const uint8_t *bytes = NULL;
    const float *numbers = NULL;
    int64_t shape[5];
    check(cvx_video_frames_rgb8(video, 0, &bytes, NULL));
    write_all(file, bytes, pixels * 3);
    check(cvx_video_frames_rgba8(video, 0, &bytes, NULL));
    write_all(file, bytes, pixels * 4);
    check(cvx_video_frames_f32(video, 0, &numbers, NULL));
    write_all(file, numbers, pixels * 3 * sizeof *numbers);
    check(cvx_video_latents(video, &numbers, shape));
    write_all(file, numbers,
              (size_t)(shape[0] * shape[1] * shape[2] * shape[3] * shape[4]) * sizeof *numbers);
    if (fclose(file) != 0) {
        perror("frames");
        return 1;
    }
    cvx_video_free(video);
    cvx_generate_options_free(options);
    cvx_pipeline_free(pipeline);
    return 0;
}
