//! Videos: frames in every format, latents, files.

use crate::support::*;
use cogvideox::capi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

const FRAMES: usize = 9;
const SIDE: usize = 32;

#[test]
fn frames_are_the_same_in_every_format_and_stay_where_they_are() {
    let pipeline = Pipeline::load("2b");
    let options = Options::small(1);
    // SAFETY: as a host calls it; frames live as long as the video.
    unsafe {
        ok(cvx_generate_options_set_num_videos(options.0, 2));
        let video = generate(&pipeline, &options);
        let v = video.0;
        drop(pipeline);
        drop(options);
        assert_eq!((cvx_video_count(v), cvx_video_num_frames(v)), (2, FRAMES as i32));
        assert_eq!((cvx_video_width(v), cvx_video_height(v)), (SIDE as i32, SIDE as i32));
        assert!(
            text(cvx_video_kernels(v)).starts_with("libtorch "),
            "{}",
            text(cvx_video_kernels(v))
        );
        let pixels = FRAMES * SIDE * SIDE;
        let mut seen = Vec::new();
        for index in 0..2 {
            let (mut rgb, mut rgba, mut floats) = (null(), null(), null());
            let mut strides = [0usize; 3];
            ok(cvx_video_frames_rgb8(v, index, &mut rgb, &mut strides[0]));
            ok(cvx_video_frames_rgba8(v, index, &mut rgba, &mut strides[1]));
            ok(cvx_video_frames_f32(v, index, &mut floats, &mut strides[2]));
            assert_eq!(strides, [SIDE * 3, SIDE * 4, SIDE * 12]);
            let (rgb, rgba, floats) = (
                std::slice::from_raw_parts(rgb, pixels * 3),
                std::slice::from_raw_parts(rgba, pixels * 4),
                std::slice::from_raw_parts(floats, pixels * 3),
            );
            assert!(floats.iter().all(|value| (0.0..=1.0).contains(value)));
            let rounded: Vec<u8> =
                floats.iter().map(|value| (value * 255.0).round_ties_even() as u8).collect();
            assert_eq!(rgb, rounded);
            for (pixel, with_alpha) in rgb.chunks(3).zip(rgba.chunks(4)) {
                assert_eq!((pixel, 255), (&with_alpha[..3], with_alpha[3]));
            }
            let mut again = null();
            ok(cvx_video_frames_rgb8(v, index, &mut again, null_mut()));
            assert_eq!(again, rgb.as_ptr());
            seen.push(rgb.to_vec());
        }
        assert_ne!(seen[0], seen[1], "two videos of one run");

        for index in [-1, 2, i32::MAX] {
            let mut data = null();
            let mut stride = 7;
            let error = cvx_video_frames_rgb8(v, index, &mut data, &mut stride);
            fails(CVX_ERROR_INVALID_ARGUMENT, &["index", "[0, 2)", &index.to_string()], error);
            assert!(data.is_null());
            assert_eq!(stride, 7);
            let error = cvx_video_save(v, index, c"/tmp/never.gif".as_ptr(), 8.0);
            fails(CVX_ERROR_INVALID_ARGUMENT, &["index"], error);
        }
        let (numbers, shape) = latents(&video);
        assert_eq!((numbers.len(), shape), (2 * 3 * 4 * 4 * 4, [2, 3, 4, 4, 4]));
    }
}

#[test]
fn a_run_that_ends_with_latents_has_no_frames() {
    let pipeline = Pipeline::load("1.5-5b");
    let options = Options::latents(1);
    let video = generate(&pipeline, &options);
    // SAFETY: as a host calls it.
    unsafe {
        assert_eq!((cvx_video_count(video.0), cvx_video_num_frames(video.0)), (1, 0));
        assert_eq!((cvx_video_width(video.0), cvx_video_height(video.0)), (0, 0));
        let (mut bytes, mut floats) = (null(), null());
        let refuse = |error| fails(CVX_ERROR_INVALID_ARGUMENT, &["no frames"], error);
        refuse(cvx_video_frames_rgb8(video.0, 0, &mut bytes, null_mut()));
        refuse(cvx_video_frames_rgba8(video.0, 0, &mut bytes, null_mut()));
        refuse(cvx_video_frames_f32(video.0, 0, &mut floats, null_mut()));
        refuse(cvx_video_save(video.0, 0, c"a.mp4".as_ptr(), 8.0));
        assert!(bytes.is_null() && floats.is_null());
        let mut shape = [0i64; 5];
        let out = shape.as_mut_ptr();
        ok(cvx_pipeline_latent_shape(pipeline.0, 1, 32, 32, 9, out, null_mut()));
        assert_eq!(latents(&video).1, shape);
    }
}

#[test]
fn each_video_of_a_run_is_saved_by_its_index() {
    let pipeline = Pipeline::load("2b");
    let options = Options::small(1);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| c(folder.path().join(name).to_str().unwrap());
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_generate_options_set_num_videos(options.0, 2));
        let video = generate(&pipeline, &options);
        let save =
            |index, name: &str, fps| cvx_video_save(video.0, index, path(name).as_ptr(), fps);
        ok(save(0, "a.gif", 8.0));
        ok(save(1, "b.gif", 8.0));
        ok(save(0, "c.mp4", 16.0));
        ok(save(1, "d.png", 8.0));
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        assert_ne!(read("a.gif"), read("b.gif"));
        assert_eq!(&read("c.mp4")[4..8], b"ftyp");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3 + FRAMES);

        // What is refused is refused alike before there is a video.
        for (expected, words, name, fps) in [
            (CVX_ERROR_INVALID_ARGUMENT, [".mp4, .gif or .png", "a.webm"], "a.webm", 8.0),
            (CVX_ERROR_INVALID_ARGUMENT, ["fps", "NaN"], "a.mp4", f64::NAN),
            (CVX_ERROR_INVALID_ARGUMENT, ["%0Nd", "a%x.png"], "a%x.png", 8.0),
            (CVX_ERROR_NOT_FOUND, ["no/such", "folder"], "no/such/a.mp4", 8.0),
        ] {
            fails(expected, &words, save(0, name, fps));
            fails(expected, &words, cvx_video_check_path(path(name).as_ptr(), fps));
        }
        ok(cvx_video_check_path(path("e.mp4").as_ptr(), 8.0));
        let error = cvx_video_save(video.0, 0, NOT_UTF8.as_ptr(), 8.0);
        fails(CVX_ERROR_INVALID_UTF8, &["path"], error);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3 + FRAMES);
    }
}

/// Collects what a write callback is given; stops after so many calls.
struct Received {
    bytes: Vec<u8>,
    calls: usize,
    stop_after: usize,
}

unsafe extern "C" fn receive(info: *const cvx_write_info, received: *mut c_void) -> i32 {
    // SAFETY: the library's struct, and what was given with the callback.
    unsafe {
        let (info, received) = (&*info, &mut *received.cast::<Received>());
        assert_eq!(info.struct_size as usize, size_of::<cvx_write_info>());
        assert_eq!(info.offset as usize, received.bytes.len());
        assert!(info.size > 0);
        received.bytes.extend_from_slice(std::slice::from_raw_parts(info.data, info.size));
        received.calls += 1;
        i32::from(received.calls >= received.stop_after)
    }
}

#[test]
fn encoded_in_memory_are_the_bytes_of_the_files() {
    let pipeline = Pipeline::load("2b");
    let video = generate(&pipeline, &Options::small(1));
    let folder = tempfile::tempdir().unwrap();
    for format in ["mp4", "gif", "GIF"] {
        let path = folder.path().join(format!("a.{format}"));
        // SAFETY: as a host calls it.
        unsafe {
            ok(cvx_video_save(video.0, 0, c(path.to_str().unwrap()).as_ptr(), 8.0));
            let expected = std::fs::read(&path).unwrap();
            let mut received = Received { bytes: vec![], calls: 0, stop_after: usize::MAX };
            let place = (&raw mut received).cast();
            let name = c(format);
            let write = Some(receive as _);
            ok(cvx_video_encode(video.0, 0, name.as_ptr(), 8.0, write, place, None));
            assert_eq!(received.bytes, expected, "{format}");

            let mut buffer = null_mut();
            ok(cvx_video_encode_buffer(video.0, 0, name.as_ptr(), 8.0, &mut buffer));
            let bytes =
                std::slice::from_raw_parts(cvx_buffer_data(buffer), cvx_buffer_size(buffer));
            assert_eq!(bytes, expected, "{format}");
            cvx_buffer_free(buffer);

            let mut received = Received { bytes: vec![], calls: 0, stop_after: 1 };
            let place = (&raw mut received).cast();
            let error = cvx_video_encode(video.0, 0, name.as_ptr(), 8.0, write, place, None);
            fails(CVX_ERROR_CANCELLED, &["write callback", "byte 0"], error);
            assert_eq!(received.calls, 1);
        }
    }
    // SAFETY: as a host calls it.
    unsafe {
        let mut buffer = untouched();
        let error = cvx_video_encode_buffer(video.0, 0, c"webm".as_ptr(), 8.0, &mut buffer);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["format", "mp4", "gif", "webm"], error);
        let error = cvx_video_encode_buffer(video.0, 1, c"gif".as_ptr(), 8.0, &mut buffer);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["index", "1"], error);
        let error = cvx_video_encode_buffer(video.0, 0, c"mp4".as_ptr(), f64::NAN, &mut buffer);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["fps", "NaN"], error);
        assert_eq!(buffer, untouched());
        let latents = generate(&pipeline, &Options::latents(1));
        let error = cvx_video_encode_buffer(latents.0, 0, c"gif".as_ptr(), 8.0, &mut buffer);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["no frames"], error);
    }
}

#[test]
fn the_user_data_of_a_write_callback_is_freed_however_the_call_ends() {
    unsafe extern "C" fn count(user_data: *mut c_void) {
        // SAFETY: the counter below.
        unsafe { *user_data.cast::<u32>() += 1 };
    }
    unsafe extern "C" fn ignore(_: *const cvx_write_info, _: *mut c_void) -> i32 {
        0
    }
    let pipeline = Pipeline::load("2b");
    let video = generate(&pipeline, &Options::small(1));
    let mut freed = 0u32;
    let place = (&raw mut freed).cast();
    // SAFETY: as a host calls it.
    unsafe {
        let v = video.0;
        let write = Some(ignore as _);
        ok(cvx_video_encode(v, 0, c"gif".as_ptr(), 8.0, write, place, Some(count)));
        assert_eq!(freed, 1);
        let error = cvx_video_encode(v, 0, c"no".as_ptr(), 8.0, write, place, Some(count));
        fails(CVX_ERROR_INVALID_ARGUMENT, &["format"], error);
        assert_eq!(freed, 2);
        let error = cvx_video_encode(v, 0, c"gif".as_ptr(), 8.0, None, place, Some(count));
        fails(CVX_ERROR_NULL_ARGUMENT, &["callback"], error);
        assert_eq!(freed, 3);
        let error = cvx_video_encode(null(), 0, c"gif".as_ptr(), 8.0, write, place, Some(count));
        fails(CVX_ERROR_NULL_ARGUMENT, &["video"], error);
        assert_eq!(freed, 4);
        fails(
            CVX_ERROR_NULL_ARGUMENT,
            &["out_buffer"],
            cvx_video_encode_buffer(v, 0, c"gif".as_ptr(), 8.0, null_mut()),
        );
        fails(
            CVX_ERROR_NULL_ARGUMENT,
            &["format"],
            cvx_video_encode_buffer(v, 0, null(), 8.0, &mut null_mut()),
        );
        cvx_buffer_free(null_mut());
        assert!(cvx_buffer_data(null()).is_null());
        assert_eq!(cvx_buffer_size(null()), 0);
    }
}
