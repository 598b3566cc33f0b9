#include "trampolines.h"

#include "_cgo_export.h"

/* Go's exported functions know no const, which is all that these casts take away. */

static void free_user_data(void *user_data) { cogvideoxGoFree(user_data); }

static int32_t progress(const cvx_progress_info *info, void *user_data) {
    return cogvideoxGoProgress((cvx_progress_info *)info, user_data);
}

static void log_message(const cvx_log_info *info, void *user_data) {
    cogvideoxGoLog((cvx_log_info *)info, user_data);
}

static int32_t frames(const cvx_frames_info *info, void *user_data) {
    return cogvideoxGoFrames((cvx_frames_info *)info, user_data);
}

static int32_t step_end(const cvx_step_end_info *info, void *user_data) {
    return cogvideoxGoStepEnd((cvx_step_end_info *)info, user_data);
}

static int32_t write_bytes(const cvx_write_info *info, void *user_data) {
    return cogvideoxGoWrite((cvx_write_info *)info, user_data);
}

static int32_t exchange(const cvx_exchange_info *info, void *user_data) {
    return cogvideoxGoExchange((cvx_exchange_info *)info, user_data);
}

static void abort_run(const cvx_abort_info *info, void *user_data) {
    cogvideoxGoAbort((cvx_abort_info *)info, user_data);
}

static void job(const cvx_job_status *status, void *user_data) {
    cogvideoxGoJob((cvx_job_status *)status, user_data);
}

static double timestep(const cvx_step_info *info, void *user_data) {
    return cogvideoxGoStep((cvx_step_info *)info, user_data);
}

static double attention_weight(const cvx_layer_info *info, void *user_data) {
    return cogvideoxGoLayer((cvx_layer_info *)info, user_data);
}

const cvx_free_callback cogvideox_go_free = free_user_data;
const cvx_progress_callback cogvideox_go_progress = progress;
const cvx_log_callback cogvideox_go_log = log_message;
const cvx_frames_callback cogvideox_go_frames = frames;
const cvx_step_callback cogvideox_go_step_end = step_end;
const cvx_write_callback cogvideox_go_write = write_bytes;
const cvx_exchange_callback cogvideox_go_exchange = exchange;
const cvx_abort_callback cogvideox_go_abort = abort_run;
const cvx_job_callback cogvideox_go_job = job;
const cvx_timestep_callback cogvideox_go_timestep = timestep;
const cvx_attention_weight_callback cogvideox_go_attention_weight = attention_weight;
const cvx_frequency_weight_callback cogvideox_go_frequency_weight = timestep;
