/* Quantizes a CogVideoX pipeline folder once, so that later loads are small and fast:
 *
 *   quantize int8 models/CogVideoX-5b models/CogVideoX-5b-int8
 *
 * The new folder loads like any other (generate --model models/CogVideoX-5b-int8). */

#include <cogvideox.h>

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: quantize KIND FOLDER NEW_FOLDER [COMPONENT...]\n"
    "\n"
    "Writes the pipeline folder FOLDER to NEW_FOLDER, where nothing may be, with the matrices of\n"
    "each COMPONENT, transformer or text_encoder (default: both), as KIND: int8, fp8 or int4.\n";

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "--help")) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc < 4) {
        fputs(usage, stderr);
        return 2;
    }
    const char *kind = argv[1], *folder = argv[2], *target = argv[3];
    const char *const both[] = {"transformer", "text_encoder"};
    const char *const *components = argc > 4 ? (const char *const *)(argv + 4) : both;
    int count = argc > 4 ? argc - 4 : 2;
    cvx_pipeline *pipeline = NULL;
    cvx_load_options *options = cvx_load_options_new();
    /* Nothing is computed: weights are read when they are used, and here they are not. */
    cvx_error *error = cvx_load_options_set_device(options, "cpu");
    if (!error) error = cvx_load_options_set_text_encoder_on_demand(options, 1);
    for (int i = 0; !error && i < count; i++)
        error = cvx_load_options_set_component_quantization(options, components[i], kind);
    if (!error) error = cvx_pipeline_load(folder, options, &pipeline);
    if (!error) error = cvx_pipeline_save(pipeline, target);
    int status = error ? 1 : 0;
    if (error) fprintf(stderr, "quantize: %s\n", cvx_error_message(error));
    cvx_error_free(error);
    cvx_pipeline_free(pipeline);
    cvx_load_options_free(options);
    return status;
}
