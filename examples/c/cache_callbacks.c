/* FasterCache with callbacks: the snippet of diffusers' caching guide, line for line.
 *
 *   cache_callbacks [PIPELINE_FOLDER [OUTPUT]]
 */
#include <cogvideox.h>
#include <stdio.h>
#include <stdlib.h>

static void check(cvx_error *error) {
    if (error == NULL) return;
    fprintf(stderr, "cache_callbacks: %s\n", cvx_error_message(error));
    cvx_error_free(error);
    exit(1);
}

/* lambda: pipeline.current_timestep; also what is taken without a callback. */
static double current_timestep(const cvx_step_info *info, void *user_data) {
    (void)user_data;
    return info->timestep;
}

/* lambda _: 0.3; here the host's own number, which may depend on layer, step and timestep. */
static double attention_weight(const cvx_layer_info *info, void *user_data) {
    (void)info;
    return *(const double *)user_data;
}

int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : "examples/demo-model/pipeline";
    const char *output = argc > 2 ? argv[2] : "cache_callbacks.mp4";
    double weight = 0.3;

    /* pipeline = CogVideoXPipeline.from_pretrained(folder) */
    cvx_pipeline *pipeline = NULL;
    check(cvx_pipeline_load(folder, NULL, &pipeline));

    /* config = FasterCacheConfig(
     *     spatial_attention_block_skip_range=2,
     *     spatial_attention_timestep_skip_range=(-1, 681),
     *     current_timestep_callback=lambda: pipeline.current_timestep,
     *     attention_weight_callback=lambda _: 0.3,
     *     unconditional_batch_skip_range=5,
     *     unconditional_batch_timestep_skip_range=(-1, 781),
     *     tensor_format="BFCHW",
     * ) */
    cvx_cache_config *config = cvx_faster_cache_config_new();
    check(cvx_cache_config_set_spatial_attention_block_skip_range(config, 2));
    check(cvx_cache_config_set_spatial_attention_timestep_skip_range(config, -1, 681));
    check(cvx_cache_config_set_current_timestep_callback(config, current_timestep, NULL, NULL));
    check(cvx_cache_config_set_attention_weight_callback(config, attention_weight, &weight, NULL));
    check(cvx_cache_config_set_unconditional_batch_skip_range(config, 5));
    check(cvx_cache_config_set_unconditional_batch_timestep_skip_range(config, -1, 781));
    check(cvx_cache_config_set_tensor_format(config, "BFCHW"));

    /* pipeline.transformer.enable_cache(config) */
    check(cvx_pipeline_enable_cache(pipeline, config));
    cvx_cache_config_free(config);

    /* video = pipeline("...", num_inference_steps=50) */
    cvx_generate_options *options = cvx_generate_options_new();
    check(cvx_generate_options_set_prompt(options, "a red ball moves right on a navy background"));
    check(cvx_generate_options_set_num_inference_steps(options, 50));
    cvx_video *video = NULL;
    check(cvx_pipeline_generate(pipeline, options, &video));

    /* export_to_video(video.frames[0], output) */
    check(cvx_video_save(video, 0, output, cvx_pipeline_default_fps(pipeline)));

    /* What was computed and what was not, step by step. */
    cvx_cache_stats *stats = NULL;
    check(cvx_pipeline_cache_stats(pipeline, &stats));
    printf("%swrote %s\n", cvx_cache_stats_text(stats), output);

    cvx_cache_stats_free(stats);
    cvx_video_free(video);
    cvx_generate_options_free(options);
    cvx_pipeline_free(pipeline);
    return 0;
}
