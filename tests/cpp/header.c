/* The C header alone, in every C and in every C++: included twice, with a callback of each kind.
 * Compiled only. */
#include <cogvideox.h>
#include <cogvideox.h>

static int32_t on_progress(const cvx_progress_info *info, void *data) {
    (void)data;
    return info->stage == CVX_STAGE_DENOISE && info->done > 3;
}

static int32_t on_frames(const cvx_frames_info *info, void *data) {
    (void)data;
    return info->pixels != CVX_PIXELS_RGB8 || info->data == 0;
}

static void on_end(const cvx_job_status *status, void *data) {
    *(int32_t *)data = status->state;
}

static double on_layer(const cvx_layer_info *info, void *data) {
    (void)data;
    return info->layer_name[0] == 't' ? 0.5 : info->timestep;
}

int main(void) {
    int32_t state = CVX_JOB_NONE;
    cvx_pipeline *pipeline = 0;
    cvx_job *job = 0;
    cvx_job_status status;
    struct DLManagedTensor *tensor = 0;
    cvx_generate_options *options = cvx_generate_options_new();
    cvx_cache_config *config = cvx_faster_cache_config_new();
    cvx_error *errors[5];
    int failed = 0, i;
    errors[0] = cvx_generate_options_set_progress_callback(options, on_progress, 0, 0);
    errors[1] = cvx_generate_options_set_frames_callback(options, CVX_PIXELS_RGB8, on_frames, 0, 0);
    errors[2] = cvx_cache_config_set_attention_weight_callback(config, on_layer, 0, 0);
    errors[3] = cvx_pipeline_submit(pipeline, options, on_end, &state, 0, &job);
    errors[4] = cvx_video_frames_dlpack(0, 0, CVX_PIXELS_F32, &tensor);
    status.struct_size = (uint32_t)sizeof status;
    for (i = 0; i < 5; i++) {
        failed += errors[i] != 0 && cvx_error_message(errors[i])[0] != '\0';
        cvx_error_free(errors[i]);
    }
    state = cvx_job_poll(job, &status);
    cvx_job_free(job);
    cvx_cache_config_free(config);
    cvx_generate_options_free(options);
    return failed == 2 && state == CVX_JOB_NONE && CVX_ABI_VERSION == cvx_abi_version() ? 0 : 1;
}
