//! Frames where they are decoded: on the CPU that is host memory, and the calls are those of a GPU.

use crate::job_support::*;
use crate::support::*;
use cogvideox::capi::*;
use std::ffi::{c_void, CStr};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex};

const SIDE: usize = 32;
const FRAMES: usize = 17;
const VIDEOS: usize = 2;
const BLANK: u8 = 0x5a;
const ALL: [i32; 5] =
    [CVX_PIXELS_RGB8, CVX_PIXELS_RGBA8, CVX_PIXELS_F32, CVX_PIXELS_BGRA8, CVX_PIXELS_RGBA16F];

fn options() -> Options {
    let options = Options::small(1);
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_generate_options_set_num_frames(options.0, FRAMES as i32));
        ok(cvx_generate_options_set_num_videos(options.0, VIDEOS as i32));
    }
    options
}

/// Bytes of a pixel and of a number.
fn size(pixels: i32) -> (usize, usize) {
    match pixels {
        CVX_PIXELS_RGB8 => (3, 1),
        CVX_PIXELS_F32 => (12, 4),
        CVX_PIXELS_RGBA16F => (8, 2),
        _ => (4, 1),
    }
}

/// The float frames of all videos.
fn floats(video: &Video) -> Vec<f32> {
    let mut all = Vec::new();
    for index in 0..VIDEOS {
        let mut data = null();
        // SAFETY: as a host calls it; frames live as long as the video.
        all.extend_from_slice(unsafe {
            ok(cvx_video_frames_f32(video.0, index as i32, &mut data, null_mut()));
            std::slice::from_raw_parts(data, FRAMES * SIDE * SIDE * 3)
        });
    }
    all
}

/// What `pixels` of a run are, made here from its floats.
fn expected(floats: &[f32], pixels: i32) -> Vec<u8> {
    let byte = |value: f32| (value * 255.0).round_ties_even() as u8;
    let mut bytes = Vec::new();
    for pixel in floats.chunks(3) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]];
        match pixels {
            CVX_PIXELS_RGB8 => bytes.extend([byte(r), byte(g), byte(b)]),
            CVX_PIXELS_RGBA8 => bytes.extend([byte(r), byte(g), byte(b), 255]),
            CVX_PIXELS_BGRA8 => bytes.extend([byte(b), byte(g), byte(r), 255]),
            CVX_PIXELS_F32 => bytes.extend([r, g, b].iter().flat_map(|n| n.to_le_bytes())),
            _ => bytes
                .extend([r, g, b, 1.0].iter().flat_map(|&n| half::f16::from_f32(n).to_le_bytes())),
        }
    }
    bytes
}

/// What a callback was told, and the bytes that it found.
struct Told {
    place: (i32, i32, i32),
    rest: [i64; 7],
    device: String,
    stream: bool,
    bytes: Vec<u8>,
}

/// # Safety
/// As the library calls it.
unsafe fn told(info: &cvx_device_frames_info) -> Told {
    let row = info.width as usize * size(info.pixels).0;
    let mut bytes = Vec::new();
    for frame in 0..info.num_frames as usize {
        for y in 0..info.height as usize {
            // SAFETY: on the CPU the address is one of the host, of so many frames and rows.
            bytes.extend_from_slice(unsafe {
                let data = info.data.cast::<u8>();
                let start = data.add(frame * info.frame_stride + y * info.row_stride);
                std::slice::from_raw_parts(start, row)
            });
        }
    }
    Told {
        place: (info.video, info.first_frame, info.num_frames),
        rest: [
            info.struct_size.into(),
            info.pixels.into(),
            info.total_frames.into(),
            info.width.into(),
            info.height.into(),
            info.row_stride as i64,
            info.frame_stride as i64,
        ],
        // SAFETY: a text that lives during the call.
        device: unsafe { CStr::from_ptr(info.device) }.to_str().unwrap().into(),
        stream: !info.stream.is_null(),
        bytes,
    }
}

type Calls = Arc<Mutex<Vec<Told>>>;

unsafe extern "C" fn collect(info: *const cvx_device_frames_info, calls: *mut c_void) -> i32 {
    // SAFETY: the library's info; the test's calls, which live as long as the options.
    unsafe { (*calls.cast::<Calls>()).lock().unwrap().push(told(&*info)) };
    0
}

unsafe extern "C" fn stop(_: *const cvx_device_frames_info, _: *mut c_void) -> i32 {
    1
}

fn on_device_frames(options: &Options, pixels: i32) -> Box<Calls> {
    let calls: Box<Calls> = Box::default();
    let data = std::ptr::from_ref(&*calls).cast_mut().cast();
    // SAFETY: as a host calls it.
    ok(unsafe {
        let call = Some(collect as _);
        cvx_generate_options_set_device_frames_callback(options.0, pixels, call, data, None)
    });
    calls
}

#[test]
fn every_format_is_handed_out_and_written_with_the_bytes_of_the_video() {
    let pipeline = Pipeline::load("2b");
    let numbers = floats(&generate(&pipeline, &options()));
    for pixels in ALL {
        let (pixel, number) = size(pixels);
        let expected = expected(&numbers, pixels);
        let row = SIDE * pixel;
        // In memory of the library.
        let options = options();
        let calls = on_device_frames(&options, pixels);
        assert!(floats(&generate(&pipeline, &options)) == numbers, "{pixels}");
        check_calls(&calls, pixels, [row, SIDE * row], &expected);
        // In the host's, with gaps; the buffer's pixels win.
        for more in [[0, 0], [8 * number, 0], [64, 100 * number]] {
            let row_stride = row + more[0];
            let frame_stride = SIDE * row_stride + more[1];
            let needed = (VIDEOS * FRAMES - 1) * frame_stride + (SIDE - 1) * row_stride + row;
            // Numbers, so that it is aligned.
            let mut memory = vec![u64::from_ne_bytes([BLANK; 8]); needed / 8 + 2];
            let calls = on_device_frames(&options, CVX_PIXELS_RGB8);
            // SAFETY: as a host calls it.
            ok(unsafe {
                let data = memory.as_mut_ptr().cast();
                let (rows, frames) =
                    if more == [0, 0] { (0, 0) } else { (row_stride, frame_stride) };
                cvx_generate_options_set_device_frames_buffer(
                    options.0, pixels, data, needed, rows, frames,
                )
            });
            drop(submit(&pipeline, &options).video());
            check_calls(&calls, pixels, [row_stride, frame_stride], &expected);
            let found: Vec<u8> = memory.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let mut whole = vec![BLANK; found.len()];
            for (index, bytes) in expected.chunks(row).enumerate() {
                let start = index / SIDE * frame_stride + index % SIDE * row_stride;
                whole[start..start + row].copy_from_slice(bytes);
            }
            assert!(found == whole, "{pixels} {more:?}");
        }
    }
}

fn check_calls(calls: &Calls, pixels: i32, strides: [usize; 2], expected: &[u8]) {
    let calls = calls.lock().unwrap();
    let places: Vec<_> = calls.iter().map(|told| told.place).collect();
    assert_eq!(places, [(0, 0, 9), (0, 9, 8), (1, 0, 9), (1, 9, 8)]);
    let info = size_of::<cvx_device_frames_info>();
    let rest = [info, pixels as usize, FRAMES, SIDE, SIDE, strides[0], strides[1]];
    for told in calls.iter() {
        assert_eq!(told.rest, rest.map(|number| number as i64));
        assert_eq!((told.device.as_str(), told.stream), ("cpu", false));
    }
    let bytes: Vec<u8> = calls.iter().flat_map(|told| told.bytes.iter().copied()).collect();
    assert!(bytes == expected, "pixels {pixels}");
}

#[test]
fn the_host_callback_and_buffer_take_the_new_formats_too() {
    let pipeline = Pipeline::load("2b");
    for pixels in [CVX_PIXELS_BGRA8, CVX_PIXELS_RGBA16F] {
        let options = options();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let chunks = Arc::clone(&seen);
        on_frames(&options, pixels, move |info| {
            assert_eq!(info.pixels, pixels);
            let count = info.num_frames as usize * info.frame_stride;
            // SAFETY: frames without gaps, alive during the call.
            chunks.lock().unwrap().extend_from_slice(unsafe {
                std::slice::from_raw_parts(info.data.cast::<u8>(), count)
            });
            0
        });
        let mut memory = vec![BLANK; VIDEOS * FRAMES * SIDE * SIDE * size(pixels).0];
        // SAFETY: as a host calls it.
        ok(unsafe {
            let data = memory.as_mut_ptr().cast();
            cvx_generate_options_set_frames_buffer(options.0, pixels, data, memory.len(), 0, 0)
        });
        let video = generate(&pipeline, &options);
        let expected = expected(&floats(&video), pixels);
        assert!(*seen.lock().unwrap() == expected && memory == expected, "{pixels}");
        // Finished videos have three formats.
        let mut tensor = null_mut();
        // SAFETY: as a host calls it.
        let error = unsafe { cvx_video_frames_dlpack(video.0, 0, pixels, &mut tensor) };
        fails(CVX_ERROR_INVALID_ARGUMENT, &["pixels"], error);
    }
}

#[test]
fn what_the_memory_cannot_take_ends_a_run_before_it_computes() {
    let pipeline = Pipeline::load("2b");
    let options = options();
    let computed = freed();
    let counter = Sent::new(computed.pointer());
    on_progress(&options, move |_| {
        // SAFETY: the counter is never freed.
        unsafe { count_free(counter.get()) };
        0
    });
    let mut memory = vec![0u64; VIDEOS * FRAMES * SIDE * SIDE * 2];
    let bytes = memory.len() * 8;
    let data = memory.as_mut_ptr().cast::<u8>();
    let half = CVX_PIXELS_RGBA16F;
    for (pixels, offset, size, row, frame, words) in [
        (half, 1, bytes - 1, 0, 0, ["address", "multiple of 2"]),
        (CVX_PIXELS_F32, 2, bytes - 2, 0, 0, ["address", "multiple of 4"]),
        (half, 0, bytes, 257, 0, ["row_stride", "multiple of 2"]),
        (half, 0, bytes, 0, 8193, ["frame_stride", "multiple of 2"]),
        (half, 0, bytes, 255, 0, ["row_stride", "at least 256"]),
        (half, 0, 8192 * 34 - 1, 0, 0, ["size", "at least 278528 bytes"]),
    ] {
        let (mut video, mut job) = (untouched(), untouched());
        // SAFETY: as a host calls it.
        unsafe {
            let (o, p) = (options.0, pipeline.0);
            let at = data.add(offset).cast();
            ok(cvx_generate_options_set_device_frames_buffer(o, pixels, at, size, row, frame));
            let words = ["device frames buffer", words[0], words[1]];
            fails(CVX_ERROR_INVALID_ARGUMENT, &words, cvx_pipeline_generate(p, o, &mut video));
            let error = cvx_pipeline_submit(p, o, None, null_mut(), None, &mut job);
            fails(CVX_ERROR_INVALID_ARGUMENT, &words, error);
        }
        assert_eq!((video, job), (untouched(), untouched()));
    }
    assert_eq!(computed.times(), 0, "nothing was computed");
    // Taken away, and a stream and events, which do not matter here.
    // SAFETY: as a host calls it.
    unsafe {
        let o = options.0;
        ok(cvx_generate_options_set_device_frames_buffer(o, 99, null_mut(), 1, 2, 3));
        ok(cvx_generate_options_set_stream(o, std::ptr::without_provenance_mut(0x1000)));
        ok(cvx_generate_options_set_wait_event(o, std::ptr::without_provenance_mut(0x1000)));
        ok(cvx_generate_options_set_record_event(o, std::ptr::without_provenance_mut(0x1000)));
    }
    drop(generate(&pipeline, &options));
    assert!(memory.iter().all(|&word| word == 0));
}

#[test]
fn settings_are_checked_and_a_callback_stops_the_run() {
    let options = options();
    let freed = freed();
    let mut memory = [0u8; 8];
    let (call, free): (cvx_device_frames_callback, cvx_free_callback) =
        (Some(stop as _), Some(count_free as _));
    // SAFETY: as a host calls it.
    unsafe {
        for pixels in [0, 6, -1, i32::MAX] {
            let words = ["pixels", "CVX_PIXELS_RGBA16F (5)", &pixels.to_string()];
            let data = freed.pointer();
            let error = cvx_generate_options_set_device_frames_callback(
                options.0, pixels, call, data, free,
            );
            fails(CVX_ERROR_INVALID_ARGUMENT, &words, error);
            let (o, data) = (options.0, memory.as_mut_ptr().cast());
            let error = cvx_generate_options_set_device_frames_buffer(o, pixels, data, 8, 0, 0);
            fails(CVX_ERROR_INVALID_ARGUMENT, &words, error);
        }
        assert_eq!(freed.times(), 4, "given back where the setter fails");
        let per_thread = std::ptr::without_provenance_mut(2);
        let error = cvx_generate_options_set_stream(options.0, per_thread);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["stream", "cudaStreamPerThread"], error);
        let data = memory.as_mut_ptr().cast();
        let error =
            cvx_generate_options_set_device_frames_buffer(options.0, 1, data, usize::MAX, 0, 0);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["size"], error);
        let data = freed.pointer();
        ok(cvx_generate_options_set_device_frames_callback(options.0, 1, call, data, free));
        let pipeline = Pipeline::load("2b");
        let mut video = untouched();
        let error = cvx_pipeline_generate(pipeline.0, options.0, &mut video);
        fails(CVX_ERROR_CANCELLED, &["device frames callback", "frame 0 of video 0"], error);
        ok(cvx_generate_options_set_device_frames_callback(options.0, 0, None, data, free));
        assert_eq!(freed.times(), 6);
    }
}
