/* Image to video: a picture becomes the first frame.
 *
 *   image_to_video CogVideoX-5b-I2V cat.jpg "the cat looks around and yawns" cat.mp4
 *
 * A small folder to try it with is examples/demo-model/image-to-video. generate.c does the same with
 * options, progress and stopping. */

#include <cogvideox.h>

#include <stdio.h>

/* The options copy the pixels: the image may go at once. */
static cvx_error *set_image(cvx_generate_options *options, const char *path) {
    cvx_image *image = NULL;
    const uint8_t *pixels = NULL;
    size_t stride = 0;
    cvx_error *error = cvx_image_load(path, &image);
    if (!error) error = cvx_image_rgb8(image, &pixels, &stride);
    if (!error)
        error = cvx_generate_options_set_image(options, pixels, cvx_image_width(image),
                                               cvx_image_height(image), stride, CVX_PIXELS_RGB8);
    cvx_image_free(image);
    return error;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fputs("usage: image_to_video MODEL IMAGE PROMPT VIDEO\n", stderr);
        return 2;
    }
    const char *path = argv[4];
    cvx_pipeline *pipeline = NULL;
    cvx_video *video = NULL;
    cvx_generate_options *options = cvx_generate_options_new();
    cvx_error *error = set_image(options, argv[2]); /* a wrong path is told before the model is read */
    if (!error) error = cvx_pipeline_load(argv[1], NULL, &pipeline);
    if (!error) error = cvx_generate_options_set_prompt(options, argv[3]);
    /* Which the published models are recommended with. */
    if (!error) error = cvx_generate_options_set_scheduler(options, "dpm");
    if (!error) error = cvx_pipeline_generate(pipeline, options, &video);
    if (!error) error = cvx_video_save(video, 0, path, cvx_pipeline_default_fps(pipeline));
    if (!error)
        printf("%s: %d frames of %dx%d\n", path, (int)cvx_video_num_frames(video),
               (int)cvx_video_width(video), (int)cvx_video_height(video));
    int status = error ? 1 : 0;
    if (error) fprintf(stderr, "image_to_video: %s\n", cvx_error_message(error));
    cvx_error_free(error);
    cvx_video_free(video);
    cvx_generate_options_free(options);
    cvx_pipeline_free(pipeline);
    return status;
}
