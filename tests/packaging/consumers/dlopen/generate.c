/* What a host of plugins does: opens the library by its path, without a header or linking,
 * looks functions up by name, and generates a short video.
 *
 *   generate LIBRARY PIPELINE_FOLDER FILE */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *library;

/* A function of the library; the program ends without it. */
static void *symbol(const char *name) {
    void *found = dlsym(library, name);
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return found;
}

/* Object pointers from dlsym become function pointers through memory, as ISO C has no cast. */
#define LOOK_UP(pointer, name)                     \
    do {                                           \
        void *found = symbol(name);                \
        memcpy(&(pointer), &found, sizeof(found)); \
    } while (0)

static void check(void *error) {
    const char *(*message)(const void *);
    LOOK_UP(message, "cvx_error_message");
    if (error != NULL) {
        fprintf(stderr, "generate: %s\n", message(error));
        exit(1);
    }
}

int main(int argc, char **argv) {
    void *(*options_new)(void), *(*load)(const char *, const void *, void **);
    void *(*set_prompt)(void *, const char *), *(*set_steps)(void *, int32_t);
    void *(*set_seed)(void *, uint64_t), *(*generate)(void *, const void *, void **);
    void *(*frames)(const void *, int32_t, const uint8_t **, size_t *);
    int32_t (*num_frames)(const void *), (*height)(const void *);
    void *pipeline = NULL, *video = NULL;
    const uint8_t *data = NULL;
    size_t stride = 0;

    if (argc != 4)
        return 2;
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    LOOK_UP(options_new, "cvx_generate_options_new");
    LOOK_UP(load, "cvx_pipeline_load");
    LOOK_UP(set_prompt, "cvx_generate_options_set_prompt");
    LOOK_UP(set_steps, "cvx_generate_options_set_num_inference_steps");
    LOOK_UP(set_seed, "cvx_generate_options_set_seed");
    LOOK_UP(generate, "cvx_pipeline_generate");
    LOOK_UP(frames, "cvx_video_frames_rgb8");
    LOOK_UP(num_frames, "cvx_video_num_frames");
    LOOK_UP(height, "cvx_video_height");

    void *options = options_new();
    check(load(argv[2], NULL, &pipeline));
    check(set_prompt(options, "a red ball moves right on a black background"));
    check(set_steps(options, 3));
    check(set_seed(options, 7));
    check(generate(pipeline, options, &video));
    check(frames(video, 0, &data, &stride));
    size_t rows = (size_t)num_frames(video) * (size_t)height(video);
    FILE *file = fopen(argv[3], "wb");
    if (file == NULL || fwrite(data, stride, rows, file) != rows || fclose(file) != 0)
        return 1;
    return 0;
}
