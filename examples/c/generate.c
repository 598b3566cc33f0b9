/* Text, image or video to video: loads a CogVideoX pipeline folder, generates from a prompt, writes a file.
 *
 *   generate "a red ball moves right on a black background" --output ball.mp4
 *
 * Everything the library does is visible here: options, progress, cancelling from a signal
 * handler, errors. See --help. */

#define _POSIX_C_SOURCE 200809L

#include <cogvideox.h>

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEMO_MODEL "examples/demo-model/pipeline"

static const char usage[] =
    "usage: generate [options] PROMPT\n"
    "\n"
    "Generates a video from a text, or a text and an image or a video, with a CogVideoX pipeline\n"
    "folder.\n"
    "\n"
    "  --model DIR        pipeline folder as diffusers saves it (default: the demo model)\n"
    "  --image FILE       .png or .jpeg, the first frame of the video: for pipeline folders for\n"
    "                     image to video, such as CogVideoX-5b-I2V, which need one\n"
    "  --video FOLDER     .png or .jpeg files, the frames of a video in the order of their names: it is\n"
    "                     made anew as the prompt says, or the first N of them with --frames\n"
    "  --strength X       how much of the video is made anew, from 0 to 1 (default: 0.8)\n"
    "  --negative TEXT    what the video should not show\n"
    "  --size WxH         width and height in pixels (default: the model's)\n"
    "  --frames N         number of frames (default: the model's)\n"
    "  --steps N          denoising steps (default: 50)\n"
    "  --guidance X       how strongly the prompt is followed; 1 or less: off (default: 6)\n"
    "  --seed N           the same seed gives the same video (default: 0)\n"
    "  --scheduler NAME   ddim or dpm (default: the folder's; published folders name ddim, and\n"
    "                     5b and 1.5 are recommended with dpm)\n"
    "  --cache NAME       generate faster by reusing attention: pab or faster_cache, with a\n"
    "                     preset behind a colon: pab:diffusers, pab:diffusers-docs,\n"
    "                     pab:videosys, faster_cache:diffusers, faster_cache:diffusers-docs,\n"
    "                     faster_cache:official, faster_cache:aggressive (default: no cache)\n"
    "  --lora FILE[=X]    a LoRA file or folder, and its weight (default: 1); may be repeated\n"
    "  --device NAME      cpu, cuda, cuda:N or auto (default: auto); several that share the run\n"
    "                     have commas between them: cuda:0,cuda:1\n"
    "  --dtype NAME       f32, f16, bf16 or auto (default: auto)\n"
    "  --variant NAME     read weight files of this variant, such as fp16\n"
    "  --transformer-weights FILE, --text-encoder-weights FILE\n"
    "                     safetensors or GGUF files in place of those of the folder\n"
    "  --quantize KIND    keep the matrices of transformer and text encoder as int8, fp8 or int4\n"
    "  --save-memory      keep the text encoder in memory only while it is needed, and\n"
    "                     decode in tiles\n"
    "  --preview DIR      write a small picture of the video into this folder after each step,\n"
    "                     its latent frames from top to bottom: step_0001.png, step_0002.png, ...\n"
    "  --output FILE      .mp4, .gif, or .png for a file per frame (default: video.mp4)\n"
    "  --fps X            frames per second of the file (default: the model's)\n"
    "  --quiet            show errors only\n"
    "  --help             show this text\n"
    "\n"
    "The demo model knows sentences like this one, with other colours, shapes (ball, square,\n"
    "triangle), directions (right, left, up, down) and backgrounds (black, gray, navy, brown):\n"
    "  a red ball moves right on a black background\n"
    "\n"
    "Ctrl-C stops in order. Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped.\n";

#define MOST_LORAS 16

typedef struct {
    const char *prompt, *negative, *image, *video, *model, *device, *dtype, *variant, *output, *cache,
        *scheduler, *preview, *quantize, *transformer, *text_encoder;
    int32_t width, height, frames, steps;
    double guidance, fps, strength;
    uint64_t seed;
    int has_guidance, save_memory, quiet;
    /* Adapters: where they are and how much of them. */
    char *lora_paths[MOST_LORAS];
    double lora_weights[MOST_LORAS];
    size_t loras;
} arguments;

/* ---- Command line ---------------------------------------------------------------------- */

static void wrong_usage(const char *option, const char *problem) {
    fprintf(stderr, "generate: %s: %s (see --help)\n", option, problem);
    exit(2);
}

static double number(const char *option, const char *text) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || errno == ERANGE)
        wrong_usage(option, "needs a number");
    return value;
}

static int32_t whole_number(const char *option, const char *text) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno == ERANGE || value < 1 || value > INT32_MAX)
        wrong_usage(option, "needs a whole number above 0");
    return (int32_t)value;
}

static uint64_t seed_number(const char *option, const char *text) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || errno == ERANGE || *text == '-')
        wrong_usage(option, "needs a whole number from 0");
    return value;
}

static void size(const char *option, const char *text, arguments *to) {
    char *end, *last;
    long width = strtol(text, &end, 10);
    long height = *end == 'x' ? strtol(end + 1, &last, 10) : 0;
    if (width < 1 || height < 1 || width > 65536 || height > 65536 || *last != '\0')
        wrong_usage(option, "needs width and height, such as 720x480");
    to->width = (int32_t)width;
    to->height = (int32_t)height;
}

/* FILE or FILE=WEIGHT, cut in place; what follows the last "=" is the weight. */
static void lora(const char *option, char *text, arguments *to) {
    char *equals = strrchr(text, '=');
    if (to->loras == MOST_LORAS)
        wrong_usage(option, "may be given 16 times");
    to->lora_weights[to->loras] = equals ? number(option, equals + 1) : 1.0;
    if (equals)
        *equals = '\0';
    to->lora_paths[to->loras++] = text;
}

static arguments parse(int argc, char **argv) {
    arguments a = {0};
    a.output = "video.mp4";
    a.strength = -1; /* the library's default */
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (strncmp(option, "--", 2) != 0) {
            if (a.prompt)
                wrong_usage(option, "there is a prompt already: put it in quotes");
            a.prompt = option;
            continue;
        }
        if (!strcmp(option, "--help")) {
            fputs(usage, stdout);
            exit(0);
        }
        if (!strcmp(option, "--quiet")) {
            a.quiet = 1;
            continue;
        }
        if (!strcmp(option, "--save-memory")) {
            a.save_memory = 1;
            continue;
        }
        char *value = i + 1 < argc ? argv[++i] : NULL;
        if (!value)
            wrong_usage(option, "needs a value, or is no option");
        if (!strcmp(option, "--model")) a.model = value;
        else if (!strcmp(option, "--negative")) a.negative = value;
        else if (!strcmp(option, "--image")) a.image = value;
        else if (!strcmp(option, "--video")) a.video = value;
        else if (!strcmp(option, "--strength")) a.strength = number(option, value);
        else if (!strcmp(option, "--size")) size(option, value, &a);
        else if (!strcmp(option, "--frames")) a.frames = whole_number(option, value);
        else if (!strcmp(option, "--steps")) a.steps = whole_number(option, value);
        else if (!strcmp(option, "--guidance")) a.guidance = number(option, value), a.has_guidance = 1;
        else if (!strcmp(option, "--seed")) a.seed = seed_number(option, value);
        else if (!strcmp(option, "--scheduler")) a.scheduler = value;
        else if (!strcmp(option, "--cache")) a.cache = value;
        else if (!strcmp(option, "--lora")) lora(option, value, &a);
        else if (!strcmp(option, "--device")) a.device = value;
        else if (!strcmp(option, "--dtype")) a.dtype = value;
        else if (!strcmp(option, "--variant")) a.variant = value;
        else if (!strcmp(option, "--transformer-weights")) a.transformer = value;
        else if (!strcmp(option, "--text-encoder-weights")) a.text_encoder = value;
        else if (!strcmp(option, "--quantize")) a.quantize = value;
        else if (!strcmp(option, "--preview")) a.preview = value;
        else if (!strcmp(option, "--output")) a.output = value;
        else if (!strcmp(option, "--fps")) a.fps = number(option, value);
        else wrong_usage(option, "no such option");
    }
    if (!a.prompt)
        wrong_usage("PROMPT", "say what the video shows");
    if (a.strength != -1 && !a.video)
        wrong_usage("--strength", "is for --video");
    return a;
}

/* The demo model, seen from the current folder or from where this program lies. */
static const char *demo_model(void) {
    static char path[4096];
    if (access(DEMO_MODEL "/model_index.json", R_OK) == 0)
        return DEMO_MODEL;
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length > 0) {
        path[length] = '\0';
        char *slash = strrchr(path, '/');
        size_t room = sizeof path - (size_t)(slash + 1 - path);
        if (snprintf(slash + 1, room, "../%s", DEMO_MODEL) < (int)room)
            return path;
    }
    return DEMO_MODEL;
}

/* ---- Progress -------------------------------------------------------------------------- */

typedef struct {
    int quiet, terminal;
    int32_t stage;
    int percent;
    struct timespec since;
} progress;

static double seconds_since(struct timespec start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start.tv_sec) + 1e-9 * (double)(now.tv_nsec - start.tv_nsec);
}

/* A bar that is drawn over itself on a terminal; a line per quarter elsewhere. */
static int32_t show_progress(const cvx_progress_info *info, void *user_data) {
    static const char *const names[] = {"",        "load",   "encode", "denoise",
                                        "decode", "tune", "image"};
    static const char full[] = "##############################";
    progress *p = user_data;
    const char *name = info->stage >= 1 && info->stage <= 6 ? names[info->stage] : "work";
    int percent = info->total ? (int)(100.0 * (double)info->done / (double)info->total) : 100;
    int step = p->terminal ? 1 : 25;
    if (info->stage != p->stage) {
        p->stage = info->stage;
        p->percent = -1;
        clock_gettime(CLOCK_MONOTONIC, &p->since);
    }
    if (p->quiet || (p->percent >= 0 && percent / step == p->percent / step))
        return 0;
    p->percent = percent;
    if (p->terminal) {
        int width = (int)(sizeof full - 1), done = width * percent / 100;
        fprintf(stderr, "\r%-8s[%.*s%*s] %3d%% %6.1f s", name, done, full, width - done, "",
                percent, seconds_since(p->since));
        if (info->done >= info->total)
            fputc('\n', stderr);
        fflush(stderr);
    } else {
        fprintf(stderr, "%s %d%%\n", name, percent);
    }
    return 0;
}

/* Where previews go, and what went wrong. */
typedef struct {
    const char *folder;
    cvx_error *error;
} previews;

/* A step's preview as a picture: the latent frames of the first video lie one after another, so
 * that they are one tall picture as they are. */
static int32_t write_preview(const cvx_step_end_info *info, void *user_data) {
    previews *p = user_data;
    const uint8_t *pixels = NULL;
    int64_t shape[5];
    char path[4096];
    p->error = cvx_step_preview_rgb8(info->handle, &pixels, shape);
    if (!p->error) {
        snprintf(path, sizeof path, "%s/step_%04" PRId32 ".png", p->folder, info->step + 1);
        p->error = cvx_image_save_png(path, pixels, (int32_t)shape[3],
                                      (int32_t)(shape[1] * shape[2]), 0, CVX_PIXELS_RGB8);
    }
    return p->error != NULL;
}

/* The library's messages; without this they go nowhere. */
static void show_log(const cvx_log_info *info, void *user_data) {
    const progress *p = user_data;
    if (info->level >= CVX_LOG_WARNING && !p->quiet)
        fprintf(stderr, "%s%s\n", p->terminal ? "\r\033[K" : "", info->message);
}

/* ---- Stopping -------------------------------------------------------------------------- */

static cvx_cancel_token *stop;

/* The first Ctrl-C asks the library to stop; a second one ends the program. */
static void on_interrupt(int signal_number) {
    (void)signal_number;
    cvx_cancel_token_cancel(stop);
}

static void catch_interrupt(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    action.sa_flags = SA_RESETHAND | SA_RESTART;
    sigaction(SIGINT, &action, NULL);
}

#ifndef HAS_FRAMES /* mpi_generate.c, where one process has them */
#define HAS_FRAMES 1
#endif

/* ---- The job --------------------------------------------------------------------------- */

/* Keeps the first error of a row of calls; the calls after it are still made, but a failed
 * setter only leaves a default in place. */
static void keep(cvx_error **first, cvx_error *error) {
    if (!*first)
        *first = error;
    else
        cvx_error_free(error);
}

/* Frames one after another, 3 bytes a pixel. */
typedef struct {
    uint8_t *pixels;
    int32_t width, height, count;
} frames;

static int is_picture(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot && (!strcmp(dot, ".png") || !strcmp(dot, ".jpg") || !strcmp(dot, ".jpeg"));
}

/* Appends a picture, of the size of those before it; says what is wrong with it, or NULL. */
static const char *append(frames *to, const cvx_image *image, const uint8_t *pixels, size_t stride) {
    int32_t width = cvx_image_width(image), height = cvx_image_height(image);
    if (to->count && (width != to->width || height != to->height))
        return "expected a picture of the size of the first";
    size_t row = 3 * (size_t)width, size = row * (size_t)height;
    uint8_t *grown = realloc(to->pixels, ((size_t)to->count + 1) * size);
    if (!grown)
        return "there is no memory for so many frames";
    to->pixels = grown;
    for (int32_t y = 0; y < height; y++)
        memcpy(grown + (size_t)to->count * size + (size_t)y * row, pixels + (size_t)y * stride, row);
    to->width = width;
    to->height = height;
    to->count++;
    return NULL;
}

/* One file of the video; prints what is wrong with it and returns 0. */
static int load_frame(const char *path, frames *to) {
    cvx_image *image = NULL;
    const uint8_t *pixels = NULL;
    size_t stride = 0;
    const char *problem = NULL;
    cvx_error *error = cvx_image_load(path, &image);
    if (!error)
        error = cvx_image_rgb8(image, &pixels, &stride);
    if (error)
        fprintf(stderr, "generate: --video: %s\n", cvx_error_message(error));
    else if ((problem = append(to, image, pixels, stride)))
        fprintf(stderr, "generate: --video: %s: %s\n", path, problem);
    int sound = !error && !problem;
    cvx_error_free(error);
    cvx_image_free(image);
    return sound;
}

/* The pictures of a folder in the order of their names, the first `most` of them unless that is 0;
 * prints what is wrong and returns 0 where they are no video. */
static int load_frames(const char *folder, int32_t most, frames *to) {
    struct dirent **entries;
    int found = scandir(folder, &entries, is_picture, alphasort), sound = found > 0;
    if (found < 0)
        fprintf(stderr, "generate: --video: %s: %s\n", folder, strerror(errno));
    else if (found == 0)
        fprintf(stderr, "generate: --video: %s: expected .png or .jpeg files, found none\n", folder);
    for (int i = 0; i < found; i++) {
        if (sound && (!most || to->count < most)) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
            sound = load_frame(path, to);
        }
        free(entries[i]);
    }
    if (found >= 0)
        free(entries);
    return sound;
}

static cvx_error *load(const arguments *a, progress *p, cvx_pipeline **pipeline) {
    cvx_error *error = NULL;
    cvx_load_options *options = cvx_load_options_new();
    if (a->device && strchr(a->device, ','))
        keep(&error, cvx_load_options_set_devices(options, a->device));
    else if (a->device)
        keep(&error, cvx_load_options_set_device(options, a->device));
#ifdef SHARE /* mpi_generate.c */
    keep(&error, SHARE(options));
#endif
    if (a->dtype)
        keep(&error, cvx_load_options_set_dtype(options, a->dtype));
    keep(&error, cvx_load_options_set_variant(options, a->variant));
    keep(&error, cvx_load_options_set_component_weights(options, "transformer", a->transformer));
    keep(&error, cvx_load_options_set_component_weights(options, "text_encoder", a->text_encoder));
    keep(&error, cvx_load_options_set_component_quantization(options, "transformer", a->quantize));
    keep(&error, cvx_load_options_set_component_quantization(options, "text_encoder", a->quantize));
    keep(&error, cvx_load_options_set_scheduler(options, a->scheduler));
    keep(&error, cvx_load_options_set_text_encoder_on_demand(options, a->save_memory));
    keep(&error, cvx_load_options_set_progress_callback(options, show_progress, p, NULL));
    keep(&error, cvx_load_options_set_log_callback(options, show_log, p, NULL));
    keep(&error, cvx_load_options_set_cancel_token(options, stop));
    if (!error)
        error = cvx_pipeline_load(a->model ? a->model : demo_model(), options, pipeline);
    cvx_load_options_free(options);
    return error;
}

/* Loads each adapter under a name of its own and makes all of them active. */
static cvx_error *load_loras(const arguments *a, cvx_pipeline *pipeline) {
    const char *names[MOST_LORAS];
    cvx_error *error = NULL;
    for (size_t i = 0; i < a->loras && !error; i++) {
        error = cvx_pipeline_load_lora(pipeline, a->lora_paths[i], NULL);
        names[i] = cvx_pipeline_adapter_name(pipeline, (int32_t)i);
    }
    if (!error && a->loras)
        error = cvx_pipeline_set_adapters(pipeline, names, a->lora_weights, a->loras);
    return error;
}

/* "technique" or "technique:preset". */
static cvx_error *cache_config(const char *name, cvx_cache_config **config) {
    char technique[32];
    size_t length = strcspn(name, ":");
    snprintf(technique, sizeof technique, "%.*s", (int)length, name);
    return cvx_cache_config_new(technique, name[length] ? name + length + 1 : NULL, config);
}

/* What was computed and what was not, step by step. */
static void print_cache_stats(const cvx_pipeline *pipeline) {
    cvx_cache_stats *stats = NULL;
    cvx_error_free(cvx_pipeline_cache_stats(pipeline, &stats));
    fputs(cvx_cache_stats_text(stats), stdout);
    cvx_cache_stats_free(stats);
}

/* The options copy the pixels: the image may go at once. */
static cvx_error *set_image(cvx_generate_options *options, const cvx_image *image) {
    const uint8_t *pixels = NULL;
    size_t stride = 0;
    cvx_error *error = cvx_image_rgb8(image, &pixels, &stride);
    if (!error)
        error = cvx_generate_options_set_image(options, pixels, cvx_image_width(image),
                                               cvx_image_height(image), stride, CVX_PIXELS_RGB8);
    return error;
}

static cvx_error *generate(const arguments *a, progress *p, cvx_pipeline *pipeline,
                           const cvx_image *image, const frames *from, cvx_video **video) {
    cvx_error *error = NULL;
    cvx_generate_options *options = cvx_generate_options_new();
    keep(&error, cvx_generate_options_set_prompt(options, a->prompt));
    keep(&error, cvx_generate_options_set_negative_prompt(options, a->negative));
    keep(&error, cvx_generate_options_set_seed(options, a->seed));
    if (image)
        keep(&error, set_image(options, image));
    if (from->count) {
        keep(&error, cvx_generate_options_set_video(options, from->pixels, from->width, from->height,
                                                    from->count, 0, 0, CVX_PIXELS_RGB8));
        keep(&error, cvx_generate_options_set_strength(options, a->strength));
    }
    if (a->width)
        keep(&error, cvx_generate_options_set_size(options, a->width, a->height));
    if (a->frames && !from->count)
        keep(&error, cvx_generate_options_set_num_frames(options, a->frames));
    if (a->steps)
        keep(&error, cvx_generate_options_set_num_inference_steps(options, a->steps));
    if (a->has_guidance)
        keep(&error, cvx_generate_options_set_guidance_scale(options, a->guidance));
    keep(&error, cvx_generate_options_set_vae_tiling(options, a->save_memory));
    keep(&error, cvx_generate_options_set_progress_callback(options, show_progress, p, NULL));
    keep(&error, cvx_generate_options_set_cancel_token(options, stop));
    previews shown = {a->preview, NULL};
    if (a->preview)
        keep(&error, cvx_generate_options_set_step_callback(options, write_preview, &shown, NULL));
    if (!error)
        error = cvx_pipeline_generate(pipeline, options, video);
    if (shown.error) { /* it stopped the run, and says more than that */
        cvx_error_free(error);
        error = shown.error;
    }
    cvx_generate_options_free(options);
    return error;
}

int main(int argc, char **argv) {
    arguments a = parse(argc, argv);
    progress p = {0};
    p.quiet = a.quiet;
    p.terminal = isatty(STDERR_FILENO);
    cvx_pipeline *pipeline = NULL;
    cvx_cache_config *cache = NULL;
    cvx_image *image = NULL;
    cvx_video *video = NULL;
    frames from = {0};
    struct timespec start;
    int status = 0;

    if (a.video && !load_frames(a.video, a.frames, &from)) {
        free(from.pixels);
        return 1;
    }
    stop = cvx_cancel_token_new();
    catch_interrupt();
    cvx_error *error = cvx_abi_check(CVX_ABI_VERSION);
    if (!error) /* a wrong path is told now, not after minutes of work */
        error = cvx_video_check_path(a.output, a.fps > 0 ? a.fps : 8);
    if (!error && a.image)
        error = cvx_image_load(a.image, &image);
    if (!error && a.cache)
        error = cache_config(a.cache, &cache);
    if (!error)
        error = load(&a, &p, &pipeline);
    if (!error)
        error = load_loras(&a, pipeline);
    if (!error && cache)
        error = cvx_pipeline_enable_cache(pipeline, cache);
    if (!error) {
        if (!a.quiet)
            fprintf(stderr, "%s; %s, %s\n", cvx_pipeline_family(pipeline),
                    cvx_pipeline_device(pipeline), cvx_pipeline_dtype(pipeline));
        clock_gettime(CLOCK_MONOTONIC, &start);
        error = generate(&a, &p, pipeline, image, &from, &video);
    }
    if (!error && HAS_FRAMES) {
        double seconds = seconds_since(start);
        double fps = a.fps > 0 ? a.fps : cvx_pipeline_default_fps(pipeline);
        error = cvx_video_save(video, 0, a.output, fps);
        if (!error && !a.quiet)
            printf("%s: %" PRId32 " frames of %" PRId32 "x%" PRId32 ", seed %" PRIu64
                   ", generated in %.1f s\n",
                   a.output, cvx_video_num_frames(video), cvx_video_width(video),
                   cvx_video_height(video), a.seed, seconds);
        if (!error && !a.quiet && cache)
            print_cache_stats(pipeline);
    }
    if (error) {
        int32_t code = cvx_error_code(error);
        fprintf(stderr, "%sgenerate: %s\n", p.terminal && p.stage ? "\n" : "",
                cvx_error_message(error));
        status = code == CVX_ERROR_CANCELLED ? 130 : 1;
    }
    cvx_error_free(error);
    cvx_video_free(video);
    cvx_image_free(image);
    free(from.pixels);
    cvx_cache_config_free(cache);
    cvx_pipeline_free(pipeline);
    cvx_cancel_token_free(stop);
    return status;
}
