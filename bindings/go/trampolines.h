/* The functions that the library is given as callbacks. They are C functions with exactly the
 * header's types, so that the C compiler, and not a cast, checks that the two agree. */

#ifndef COGVIDEOX_GO_TRAMPOLINES_H
#define COGVIDEOX_GO_TRAMPOLINES_H

#include <cogvideox.h>

extern const cvx_free_callback cogvideox_go_free;
extern const cvx_progress_callback cogvideox_go_progress;
extern const cvx_log_callback cogvideox_go_log;
extern const cvx_frames_callback cogvideox_go_frames;
extern const cvx_step_callback cogvideox_go_step_end;
extern const cvx_write_callback cogvideox_go_write;
extern const cvx_exchange_callback cogvideox_go_exchange;
extern const cvx_abort_callback cogvideox_go_abort;
extern const cvx_job_callback cogvideox_go_job;
extern const cvx_timestep_callback cogvideox_go_timestep;
extern const cvx_attention_weight_callback cogvideox_go_attention_weight;
extern const cvx_frequency_weight_callback cogvideox_go_frequency_weight;

#endif
