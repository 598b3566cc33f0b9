/* Makes a cache schedule for a model, writes it as JSON, and shows on prompts that it was not made
 * with what it saves and costs.
 *
 *   tune [--model DIR] [--min-psnr DB] [--steps N] [--output FILE] [--calibration FILE] [PROMPT ...]
 */
/* clock_gettime and isatty */
#define _POSIX_C_SOURCE 200809L

#include <cogvideox.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What the embedded model was taught to draw. It is calibrated with these, schedules are checked with
 * the second list, and the third shows what came of it. */
static const char *const demo_prompts[] = {
    "a red ball moves right on a navy background",
    "a yellow square moves down on a black background",
    "a green triangle moves left on a gray background",
    "a purple ball moves up on a brown background",
    "a blue square moves left on a black background",
    "a yellow triangle moves right on a navy background",
};
static const char *const demo_checks[] = {
    "a blue ball moves left on a black background",
    "a blue triangle moves left on a gray background",
    "a white ball moves up on a black background",
    "a red square moves down on a brown background",
    "a red triangle moves right on a brown background",
    "a red square moves down on a navy background",
    "a purple ball moves left on a black background",
    "a green triangle moves down on a gray background",
    "a red triangle moves down on a black background",
    "a blue ball moves up on a brown background",
    "a purple ball moves up on a black background",
    "a red square moves down on a black background",
    "a white square moves up on a gray background",
    "a white triangle moves right on a brown background",
    "a purple triangle moves up on a brown background",
    "a green ball moves left on a gray background",
};
static const char *const held_out[] = {
    "a blue ball moves down on a gray background",
    "a red square moves up on a black background",
    "a purple triangle moves down on a navy background",
    "a green ball moves right on a brown background",
};
enum { DEMO = sizeof demo_prompts / sizeof demo_prompts[0] };
enum { CHECKS = sizeof demo_checks / sizeof demo_checks[0] };
enum { HELD_OUT = sizeof held_out / sizeof held_out[0] };

static void check(cvx_error *error) {
    if (error == NULL) return;
    fprintf(stderr, "tune: %s\n", cvx_error_message(error));
    cvx_error_free(error);
    exit(1);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int32_t show_progress(const cvx_progress_info *info, void *user_data) {
    (void)user_data;
    if (info->stage == CVX_STAGE_TUNE && isatty(STDERR_FILENO)) {
        fprintf(stderr, "\rrun %llu of at most %llu ", (unsigned long long)info->done,
                (unsigned long long)info->total);
    }
    return 0;
}

/* When the first and the last denoising step ended. */
struct denoising {
    double first, last;
};

static int32_t note_steps(const cvx_progress_info *info, void *user_data) {
    struct denoising *denoising = user_data;
    if (info->stage != CVX_STAGE_DENOISE) return 0;
    if (denoising->first == 0) denoising->first = seconds();
    denoising->last = seconds();
    return 0;
}

static cvx_generate_options *options_of(const char *prompt, int32_t steps, uint64_t seed) {
    cvx_generate_options *options = cvx_generate_options_new();
    check(cvx_generate_options_set_prompt(options, prompt));
    check(cvx_generate_options_set_num_inference_steps(options, steps));
    check(cvx_generate_options_set_seed(options, seed));
    return options;
}

/* Generates; *taken is the time from the end of the first step to that of the last. */
static cvx_video *timed(cvx_pipeline *pipeline, const char *prompt, int32_t steps, uint64_t seed,
                        double *taken) {
    struct denoising denoising = {0, 0};
    cvx_generate_options *options = options_of(prompt, steps, seed);
    cvx_video *video = NULL;
    check(cvx_generate_options_set_progress_callback(options, note_steps, &denoising, NULL));
    check(cvx_pipeline_generate(pipeline, options, &video));
    cvx_generate_options_free(options);
    *taken = denoising.last - denoising.first;
    return video;
}

static double psnr(const cvx_video *a, const cvx_video *b) {
    const uint8_t *x = NULL, *y = NULL;
    check(cvx_video_frames_rgb8(a, 0, &x, NULL));
    check(cvx_video_frames_rgb8(b, 0, &y, NULL));
    size_t count = (size_t)cvx_video_num_frames(a) * (size_t)cvx_video_height(a) *
                   (size_t)cvx_video_width(a) * 3;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)x[i] - (double)y[i];
        sum += difference * difference;
    }
    return sum > 0 ? 10 * log10(255.0 * 255.0 * (double)count / sum) : INFINITY;
}

/* Uncached and with the schedule, one after the other. */
static void compare(cvx_pipeline *pipeline, const cvx_cache_config *config, const char *prompt,
                    int32_t steps, uint64_t seed) {
    double uncached_time, tuned_time;
    check(cvx_pipeline_disable_cache(pipeline));
    cvx_video *uncached = timed(pipeline, prompt, steps, seed, &uncached_time);
    check(cvx_pipeline_enable_cache(pipeline, config));
    cvx_video *tuned = timed(pipeline, prompt, steps, seed, &tuned_time);
    printf("%-52s %6.2fx %6.1f dB\n", prompt, uncached_time / tuned_time, psnr(uncached, tuned));
    cvx_video_free(uncached);
    cvx_video_free(tuned);
}

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (file == NULL || fprintf(file, "%s\n", text) < 0 || fclose(file) != 0) {
        fprintf(stderr, "tune: %s could not be written\n", path);
        exit(1);
    }
}

/* From the file if there is one, else made with the runs and, where there is a path, written. */
static cvx_calibration *calibrated(const char *path, cvx_pipeline *pipeline,
                                   const cvx_generate_options *const *runs, size_t count) {
    cvx_calibration *calibration = NULL;
    FILE *file = path != NULL ? fopen(path, "rb") : NULL;
    if (file == NULL) {
        check(cvx_pipeline_calibrate(pipeline, runs, count, &calibration));
        if (path != NULL) write_text(path, cvx_calibration_json(calibration));
        return calibration;
    }
    size_t size = 0, room = 1 << 20;
    char *json = malloc(room);
    while (json != NULL) {
        size += fread(json + size, 1, room - size - 1, file);
        if (size + 1 < room) break;
        json = realloc(json, room *= 2);
    }
    fclose(file);
    if (json == NULL) exit(1);
    json[size] = '\0';
    check(cvx_calibration_from_json(json, &calibration));
    free(json);
    return calibration;
}

/* Options for each prompt, seeds from 1 on. */
static const cvx_generate_options **runs_of(const char *const *prompts, size_t count,
                                            int32_t steps) {
    const cvx_generate_options **runs = calloc(count, sizeof *runs);
    if (runs == NULL) exit(1);
    for (size_t run = 0; run < count; run++) {
        cvx_generate_options *options = options_of(prompts[run], steps, run + 1);
        check(cvx_generate_options_set_progress_callback(options, show_progress, NULL, NULL));
        runs[run] = options;
    }
    return runs;
}

static void free_runs(const cvx_generate_options **runs, size_t count) {
    for (size_t run = 0; run < count; run++)
        cvx_generate_options_free((cvx_generate_options *)runs[run]);
    free(runs);
}

static void usage(FILE *stream) {
    fputs("tune: makes a cache schedule for a model\n\n"
          "  --model DIR     pipeline folder (default examples/demo-model/pipeline)\n"
          "  --min-psnr DB   likeness to the uncached video that is asked for (default 40)\n"
          "  --steps N       denoising steps of the runs it is for (default 50)\n"
          "  --output FILE   where the schedule goes (default schedule.json)\n"
          "  --calibration FILE  what the model showed when it was calibrated: read if it is there,\n"
          "                  else made and written, so that other bounds need fewer runs\n"
          "  PROMPT ...      prompts to make it with; default: some that the embedded model knows,\n"
          "                  and others to show what it saves\n",
          stream);
}

int main(int argc, char **argv) {
    const char *model = "examples/demo-model/pipeline", *output = "schedule.json";
    const char *calibration_file = NULL;
    double min_psnr = 40;
    int32_t steps = 50;
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            return 0;
        }
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value == NULL) {
            fprintf(stderr, "tune: %s needs a value\n", argv[i]);
            return 2;
        }
        if (strcmp(argv[i], "--model") == 0) model = value;
        else if (strcmp(argv[i], "--min-psnr") == 0) min_psnr = strtod(value, NULL);
        else if (strcmp(argv[i], "--steps") == 0) steps = (int32_t)strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--output") == 0) output = value;
        else if (strcmp(argv[i], "--calibration") == 0) calibration_file = value;
        else {
            usage(stderr);
            return 2;
        }
    }
    const char *const *prompts = demo_prompts;
    size_t count = DEMO;
    if (i < argc) {
        prompts = (const char *const *)(argv + i);
        count = (size_t)(argc - i);
    }

    cvx_pipeline *pipeline = NULL;
    check(cvx_pipeline_load(model, NULL, &pipeline));
    const cvx_generate_options **runs = runs_of(prompts, count, steps);
    cvx_calibration *calibration = calibrated(calibration_file, pipeline, runs, count);
    if (prompts == demo_prompts) {
        /* Prompts that the calibration did not see say what a schedule is worth. */
        free_runs(runs, count);
        count = CHECKS;
        runs = runs_of(demo_checks, count, steps);
    }
    cvx_cache_config *config = NULL;
    check(cvx_pipeline_tune_calibrated_cache(pipeline, calibration, runs, count, min_psnr, &config));
    cvx_calibration_free(calibration);
    free_runs(runs, count);
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\r%40s\r", "");

    const char *json = NULL;
    check(cvx_cache_config_to_json(config, &json));
    write_text(output, json);

    cvx_cache_stats *stats = NULL;
    check(cvx_pipeline_preview_cache(pipeline, config, NULL, &stats));
    printf("%s\nwrote %s\n\n", cvx_cache_stats_text(stats), output);
    cvx_cache_stats_free(stats);
    if (prompts == demo_prompts) {
        printf("%-52s %7s %9s\n", "prompts it was not made with", "denoise", "PSNR");
        for (size_t other = 0; other < HELD_OUT; other++)
            compare(pipeline, config, held_out[other], steps, 100 + other);
    }
    cvx_cache_config_free(config);
    cvx_pipeline_free(pipeline);
    return 0;
}
