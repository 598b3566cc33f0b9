#include <cogvideox.h>
#include <stdio.h>

int main(void) {
    cvx_pipeline *pipeline = NULL;
    cvx_video *video = NULL;
    cvx_cache_config *cache = cvx_pab_config_new();
    cvx_generate_options *options = cvx_generate_options_new();
    cvx_error *error = cvx_generate_options_set_prompt(
        options, "a red ball moves right on a black background");
    if (!error) error = cvx_pipeline_load("examples/demo-model/pipeline", NULL, &pipeline);
    if (!error) error = cvx_pipeline_enable_cache(pipeline, cache);
    if (!error) error = cvx_pipeline_generate(pipeline, options, &video);
    if (!error) error = cvx_video_save(video, 0, "ball.mp4", cvx_pipeline_default_fps(pipeline));
    int status = error ? 1 : 0;
    if (error) fprintf(stderr, "%s\n", cvx_error_message(error));
    cvx_error_free(error);
    cvx_video_free(video);
    cvx_generate_options_free(options);
    cvx_cache_config_free(cache);
    cvx_pipeline_free(pipeline);
    return status;
}
