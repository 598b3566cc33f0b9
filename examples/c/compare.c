/* The demo: one prompt, generated without a cache, with Pyramid Attention Broadcast, with
 * FasterCache and by a schedule that was tuned for the model; prints what each cost and how far it
 * is from the uncached video, and writes a video of each and a contact sheet with one row a
 * technique. With the demo model a last row shows what was made from it: a drawn picture that moves
 * as its prompt says (image to video), and a color that the model knows with an adapter alone
 * (LoRA).
 *
 *   compare [--model DIR] [--schedule FILE] [--prompt TEXT] [--steps N] [--seed N] [--output DIR]
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

struct technique {
    const char *label;
    const char *file;
    const char *id;     /* NULL: no cache */
    const char *preset; /* of the technique */
};

#define DEMO_MODEL "examples/demo-model/pipeline"
#define DEMO_SCHEDULE "examples/demo-model/schedules/psnr-41.json"
#define DEMO_IMAGE_TO_VIDEO "examples/demo-model/image-to-video"
#define DEMO_LORA "examples/demo-model/lora-pink"
/* Neither the picture nor the words were among what the two were trained on. */
#define PICTURE_PROMPT "a yellow ball moves down on a navy background"
#define LORA_PROMPT "a pink triangle moves up on a black background"

/* The settings are those of the documentation of diffusers; the last row's is a file. */
static const struct technique techniques[] = {
    {"uncached", "uncached", NULL, NULL},
    {"PAB", "pab", "pab", "diffusers-docs"},
    {"FasterCache", "faster_cache", "faster_cache", "diffusers-docs"},
    {"tuned", "tuned", "schedule", NULL},
};
enum { COUNT = sizeof techniques / sizeof techniques[0], COLUMNS = 6 };

/* Prints the error, frees it and ends the program. */
static void check(cvx_error *error) {
    if (error == NULL) return;
    fprintf(stderr, "compare: %s\n", cvx_error_message(error));
    cvx_error_free(error);
    exit(1);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* A run as its progress shows it. */
struct watch {
    const char *label;
    /* When denoising began, as far as the last report before it tells, and ended. */
    double begun, ended;
};

/* Notes the time; draws a bar on a terminal, says nothing into a file. */
static int32_t show_progress(const cvx_progress_info *info, void *user_data) {
    static const char *const stages[] = {[CVX_STAGE_LOAD] = "load",
                                         [CVX_STAGE_ENCODE] = "encode",
                                         [CVX_STAGE_DENOISE] = "denoise",
                                         [CVX_STAGE_DECODE] = "decode"};
    const char *stage = info->stage >= CVX_STAGE_LOAD && info->stage <= CVX_STAGE_DECODE
                            ? stages[info->stage]
                            : "";
    struct watch *watch = user_data;
    if (info->stage < CVX_STAGE_DENOISE) watch->begun = seconds();
    if (info->stage == CVX_STAGE_DENOISE) watch->ended = seconds();
    if (!isatty(STDERR_FILENO)) return 0;
    int filled = info->total > 0 ? (int)(30 * info->done / info->total) : 0;
    fprintf(stderr, "\r%-12s %-8s [%.*s%*s] %llu/%llu ", watch->label, stage, filled,
            "##############################", 30 - filled, "", (unsigned long long)info->done,
            (unsigned long long)info->total);
    return 0;
}

static void clear_progress(void) {
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\r%70s\r", "");
}

/* Peak signal-to-noise ratio in dB of two videos of one size, frames in [0, 1]. */
static double psnr(const cvx_video *a, const cvx_video *b) {
    const float *x = NULL, *y = NULL;
    check(cvx_video_frames_f32(a, 0, &x, NULL));
    check(cvx_video_frames_f32(b, 0, &y, NULL));
    size_t count = (size_t)cvx_video_num_frames(a) * (size_t)cvx_video_height(a) *
                   (size_t)cvx_video_width(a) * 3;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)x[i] - (double)y[i];
        sum += difference * difference;
    }
    return sum > 0 ? -10 * log10(sum / (double)count) : INFINITY;
}

enum { SIDE = 64 };

/* What a run is asked for. */
struct request {
    const char *prompt;
    const uint8_t *picture; /* SIDE x SIDE pixels of R, G, B; NULL: none */
    int32_t steps;
    uint64_t seed;
};

static cvx_video *generate(cvx_pipeline *pipeline, const struct request *request,
                           struct watch *watch) {
    cvx_generate_options *options = cvx_generate_options_new();
    cvx_video *video = NULL;
    check(cvx_generate_options_set_prompt(options, request->prompt));
    check(cvx_generate_options_set_num_inference_steps(options, request->steps));
    check(cvx_generate_options_set_seed(options, request->seed));
    if (request->picture != NULL)
        check(cvx_generate_options_set_image(options, request->picture, SIDE, SIDE, 0,
                                             CVX_PIXELS_RGB8));
    check(cvx_generate_options_set_progress_callback(options, show_progress, watch, NULL));
    check(cvx_pipeline_generate(pipeline, options, &video));
    clear_progress();
    cvx_generate_options_free(options);
    return video;
}

/* Generates with one step and forgets it: memory is found and threads are started, so that the
 * first run that is timed does not pay for that alone. */
static void warm_up(cvx_pipeline *pipeline, const char *prompt) {
    struct request request = {prompt, NULL, 1, 0};
    struct watch watch = {.label = "warm-up"};
    cvx_video_free(generate(pipeline, &request, &watch));
}

static void save(const cvx_video *video, const char *output, const char *name, double fps) {
    static const char *const kinds[] = {"mp4", "gif"};
    char path[4096];
    for (size_t kind = 0; kind < 2; kind++) {
        snprintf(path, sizeof path, "%s/%s.%s", output, name, kinds[kind]);
        check(cvx_video_save(video, 0, path, fps));
        printf("wrote %s\n", path);
    }
}

/* What was made from the demo model, and shown in the sheet's last row. */
struct derived {
    uint8_t picture[SIDE * SIDE * 3];
    cvx_video *moved, *without_lora, *with_lora;
};

/* A yellow ball near the corner, from where it could as well move right. */
static void draw_picture(uint8_t *pixels) {
    static const double ball[] = {1.0, 0.9, 0.1}, ground[] = {0.04, 0.06, 0.3};
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            double cover = 0.5 - (hypot(x - 12, y - 20) - 12);
            cover = cover < 0 ? 0 : cover > 1 ? 1 : cover;
            for (int c = 0; c < 3; c++, pixels++)
                *pixels = (uint8_t)lround(255 * (cover * ball[c] + (1 - cover) * ground[c]));
        }
    }
}

/* Makes them, and says how long each took. */
static void derive(struct derived *derived, cvx_pipeline *pipeline, int32_t steps, uint64_t seed) {
    cvx_pipeline *image_to_video = NULL;
    draw_picture(derived->picture);
    struct request picture = {PICTURE_PROMPT, derived->picture, steps, seed};
    struct request pink = {LORA_PROMPT, NULL, steps, seed};
    struct watch watches[] = {{.label = "from image"}, {.label = "no LoRA"}, {.label = "LoRA"}};
    double taken[3];

    check(cvx_pipeline_load(DEMO_IMAGE_TO_VIDEO, NULL, &image_to_video));
    taken[0] = seconds();
    derived->moved = generate(image_to_video, &picture, &watches[0]);
    taken[0] = seconds() - taken[0];
    cvx_pipeline_free(image_to_video);

    check(cvx_pipeline_disable_cache(pipeline));
    taken[1] = seconds();
    derived->without_lora = generate(pipeline, &pink, &watches[1]);
    taken[1] = seconds() - taken[1];
    check(cvx_pipeline_load_lora(pipeline, DEMO_LORA, NULL));
    taken[2] = seconds();
    derived->with_lora = generate(pipeline, &pink, &watches[2]);
    taken[2] = seconds() - taken[2];

    printf("\n");
    for (size_t i = 0; i < 3; i++)
        printf("%-12s %7.2fs  %s\n", watches[i].label, taken[i],
               i == 0 ? PICTURE_PROMPT ", from a drawn picture" : LORA_PROMPT);
}

static void free_derived(struct derived *derived) {
    cvx_video_free(derived->moved);
    cvx_video_free(derived->without_lora);
    cvx_video_free(derived->with_lora);
}

/* A frame's pixels, row under row. */
static const uint8_t *frame_of(const cvx_video *video, int frame) {
    const uint8_t *pixels = NULL;
    check(cvx_video_frames_rgb8(video, 0, &pixels, NULL));
    return pixels + frame * SIDE * SIDE * 3;
}

/* Puts one more row below the sheet: the picture, and the middle and the end of its clip; the same
 * moment without the adapter and with it, and the end with it. */
static void add_row(const char *path, const struct derived *derived) {
    const int last = cvx_video_num_frames(derived->moved) - 1;
    const uint8_t *const cells[COLUMNS] = {
        derived->picture,
        frame_of(derived->moved, last / 2),
        frame_of(derived->moved, last),
        frame_of(derived->without_lora, last / 2),
        frame_of(derived->with_lora, last / 2),
        frame_of(derived->with_lora, last),
    };
    enum { GAP = 4 };
    cvx_image *sheet = NULL;
    const uint8_t *above = NULL;
    size_t stride = 0;
    check(cvx_image_load(path, &sheet));
    check(cvx_image_rgb8(sheet, &above, &stride));
    int width = cvx_image_width(sheet), height = cvx_image_height(sheet);
    int cell = (width - GAP) / COLUMNS, factor = (cell - GAP) / SIDE;
    size_t row = (size_t)width * 3;
    uint8_t *pixels = malloc(row * (size_t)(height + cell));
    if (pixels == NULL) {
        fprintf(stderr, "compare: no memory for the sheet\n");
        exit(1);
    }
    for (int y = 0; y < height; y++) memcpy(pixels + y * row, above + y * stride, row);
    /* What lies between pictures, as the first row of pixels has it. */
    for (int y = height; y < height + cell; y++) memcpy(pixels + y * row, pixels, row);
    for (int i = 0; i < COLUMNS; i++) {
        for (int y = 0; y < SIDE * factor; y++) {
            uint8_t *to = pixels + (height + y) * row + (GAP + i * cell) * 3;
            for (int x = 0; x < SIDE * factor; x++)
                memcpy(to + x * 3, cells[i] + (y / factor * SIDE + x / factor) * 3, 3);
        }
    }
    check(cvx_image_save_png(path, pixels, width, height + cell, row, CVX_PIXELS_RGB8));
    free(pixels);
    cvx_image_free(sheet);
}

/* The text of a file, allocated; NULL if it can't be read. */
static char *read_text(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    size_t size = 0, room = 1 << 16;
    char *text = malloc(room);
    while (text != NULL) {
        size += fread(text + size, 1, room - size - 1, file);
        if (size + 1 < room) break;
        char *larger = realloc(text, room *= 2);
        if (larger == NULL) free(text);
        text = larger;
    }
    fclose(file);
    if (text != NULL) text[size] = '\0';
    return text;
}

/* The config of a row, NULL for one that is not cached. */
static cvx_cache_config *config_of(const struct technique *technique, const char *schedule) {
    cvx_cache_config *config = NULL;
    if (technique->id == NULL) return NULL;
    if (technique->preset != NULL) {
        check(cvx_cache_config_new(technique->id, technique->preset, &config));
        return config;
    }
    char *json = read_text(schedule);
    if (json == NULL) {
        fprintf(stderr, "compare: can't read %s\n", schedule);
        exit(1);
    }
    check(cvx_cache_config_from_json(json, &config));
    free(json);
    return config;
}

static void usage(FILE *stream) {
    fputs("compare: generates one prompt uncached, with PAB, with FasterCache and by a schedule\n\n"
          "  --model DIR     pipeline folder (default " DEMO_MODEL ",\n"
          "                  with a row for image to video and LoRA)\n"
          "  --schedule FILE cache config that was tuned for the model and the number of steps\n"
          "                  (default for the default model and steps: that of 41 dB)\n"
          "  --prompt TEXT   (default \"a red ball moves right on a navy background\")\n"
          "  --steps N       denoising steps (default 50)\n"
          "  --seed N        (default 1)\n"
          "  --output DIR    existing folder for the videos (default .)\n",
          stream);
}

int main(int argc, char **argv) {
    const char *model = DEMO_MODEL, *output = ".", *schedule = NULL;
    const char *prompt = "a red ball moves right on a navy background";
    int32_t steps = 50;
    uint64_t seed = 1;
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            return 0;
        }
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value == NULL) {
            fprintf(stderr, "compare: %s needs a value\n", argv[i]);
            return 2;
        }
        if (strcmp(argv[i], "--model") == 0) model = value;
        else if (strcmp(argv[i], "--schedule") == 0) schedule = value;
        else if (strcmp(argv[i], "--prompt") == 0) prompt = value;
        else if (strcmp(argv[i], "--steps") == 0) steps = (int32_t)strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0) seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--output") == 0) output = value;
        else {
            usage(stderr);
            return 2;
        }
    }

    /* Schedules are for one number of steps. */
    if (schedule == NULL && strcmp(model, DEMO_MODEL) == 0 && steps == 50) schedule = DEMO_SCHEDULE;
    const size_t rows = schedule != NULL ? COUNT : COUNT - 1;

    cvx_pipeline *pipeline = NULL;
    check(cvx_pipeline_load(model, NULL, &pipeline));
    printf("model   %s\n        %s, on %s in %s, %.1f MB of weights\n", model,
           cvx_pipeline_family(pipeline), cvx_pipeline_device(pipeline),
           cvx_pipeline_dtype(pipeline), (double)cvx_pipeline_weight_bytes(pipeline) / 1e6);
    printf("prompt  %s\nsteps   %d, seed %llu\n\n", prompt, steps, (unsigned long long)seed);
    double fps = cvx_pipeline_default_fps(pipeline);

    warm_up(pipeline, prompt);
    cvx_video *videos[COUNT] = {NULL};
    double taken[COUNT], denoising[COUNT];
    printf("%-12s %8s %8s | %8s %8s %9s | %9s %22s %11s\n", "", "whole", "speed-up", "denoise",
           "speed-up", "predicted", "PSNR", "attention computed", "cache peak");
    for (size_t i = 0; i < rows; i++) {
        const struct technique *technique = &techniques[i];
        struct watch watch = {.label = technique->label};
        struct request request = {prompt, NULL, steps, seed};
        cvx_cache_config *config = config_of(technique, schedule);
        if (config != NULL) check(cvx_pipeline_enable_cache(pipeline, config));
        cvx_cache_config_free(config);
        double started = seconds();
        videos[i] = generate(pipeline, &request, &watch);
        taken[i] = seconds() - started;
        denoising[i] = watch.ended - watch.begun;

        cvx_cache_stats *stats = NULL;
        check(cvx_pipeline_cache_stats(pipeline, &stats));
        char quality[16] = "-";
        double likeness = psnr(videos[0], videos[i]);
        if (i > 0 && isinf(likeness)) snprintf(quality, sizeof quality, "equal");
        else if (i > 0) snprintf(quality, sizeof quality, "%.1f dB", likeness);
        printf("%-12s %7.2fs %7.2fx | %7.2fs %7.2fx %8.2fx | %9s %12.0f of %.0f units %8.1f MB\n",
               technique->label, taken[i], taken[0] / taken[i], denoising[i],
               denoising[0] / denoising[i],
               technique->id != NULL ? cvx_cache_stats_predicted_speed_up(stats) : 1.0, quality,
               cvx_cache_stats_attention_units(stats), cvx_cache_stats_total_units(stats),
               (double)cvx_cache_stats_bytes_peak(stats) / 1e6);
        cvx_cache_stats_free(stats);
    }

    struct derived derived = {.moved = NULL};
    const int demo = strcmp(model, DEMO_MODEL) == 0;
    if (demo) derive(&derived, pipeline, steps, seed);

    char path[4096];
    putchar('\n');
    for (size_t i = 0; i < rows; i++) save(videos[i], output, techniques[i].file, fps);
    if (demo) {
        save(derived.moved, output, "image_to_video", fps);
        save(derived.without_lora, output, "without_lora", fps);
        save(derived.with_lora, output, "with_lora", fps);
    }
    snprintf(path, sizeof path, "%s/contact_sheet.png", output);
    check(cvx_video_save_contact_sheet((const cvx_video *const *)videos, rows, COLUMNS, path));
    if (demo) add_row(path, &derived);
    printf("wrote %s (one row a technique%s)\n", path,
           demo ? "; then a picture and its clip, pink without the adapter and with it" : "");

    free_derived(&derived);
    for (size_t i = 0; i < rows; i++) cvx_video_free(videos[i]);
    cvx_pipeline_free(pipeline);
    return 0;
}
