//! Frames while they are decoded: chunks to a callback, and memory of the host's own. What comes
//! must be, byte for byte, what the finished video has.

use crate::job_support::*;
use crate::support::*;
use cogvideox::capi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex};

const SIDE: usize = 32;
/// Two groups of frames for the VAE.
const FRAMES: usize = 17;
const VIDEOS: usize = 2;

fn options() -> Options {
    let options = Options::small(1);
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_generate_options_set_num_frames(options.0, FRAMES as i32));
        ok(cvx_generate_options_set_num_videos(options.0, VIDEOS as i32));
    }
    options
}

fn tiled(options: &Options) {
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_vae_tile(options.0, 16, 16, -1.0, -1.0) });
}

fn sliced(options: &Options) {
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_vae_slicing(options.0, 1) });
}

fn size(pixels: i32) -> usize {
    match pixels {
        CVX_PIXELS_RGB8 => 3,
        CVX_PIXELS_RGBA8 => 4,
        _ => 12,
    }
}

/// The bytes of one finished video, as its accessor of these pixels hands them out.
fn bytes(video: &Video, index: usize, pixels: i32) -> Vec<u8> {
    let (mut bytes, mut floats, mut stride) = (null(), null(), 0);
    let (v, i) = (video.0, index as i32);
    // SAFETY: as a host calls it; frames live as long as the video.
    unsafe {
        match pixels {
            CVX_PIXELS_RGB8 => ok(cvx_video_frames_rgb8(v, i, &mut bytes, &mut stride)),
            CVX_PIXELS_RGBA8 => ok(cvx_video_frames_rgba8(v, i, &mut bytes, &mut stride)),
            _ => {
                ok(cvx_video_frames_f32(v, i, &mut floats, &mut stride));
                bytes = floats.cast();
            }
        }
        let frames = cvx_video_num_frames(v) as usize * cvx_video_height(v) as usize;
        std::slice::from_raw_parts(bytes, frames * stride).to_vec()
    }
}

/// What a frames callback was given.
#[derive(Debug, Clone, PartialEq)]
struct Chunk {
    video: usize,
    first: usize,
    count: usize,
    data: Vec<u8>,
    /// Everything else, as it must be in each.
    rest: [i64; 7],
}

impl Chunk {
    /// # Safety
    /// As the library calls it.
    unsafe fn of(info: &cvx_frames_info) -> Chunk {
        let length = info.num_frames as usize * info.frame_stride;
        Chunk {
            video: info.video as usize,
            first: info.first_frame as usize,
            count: info.num_frames as usize,
            // SAFETY: the caller's; frames follow each other without a gap.
            data: unsafe { std::slice::from_raw_parts(info.data.cast::<u8>(), length) }.to_vec(),
            rest: [
                info.struct_size.into(),
                info.pixels.into(),
                info.total_frames.into(),
                info.width.into(),
                info.height.into(),
                info.row_stride as i64,
                info.frame_stride as i64,
            ],
        }
    }
}

fn collect(options: &Options, pixels: i32) -> Arc<Mutex<Vec<Chunk>>> {
    let chunks = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&chunks);
    on_frames(options, pixels, move |info| {
        // SAFETY: the library's.
        seen.lock().unwrap().push(unsafe { Chunk::of(info) });
        0
    });
    chunks
}

/// The chunks are the finished video, in order, each frame once.
fn compare(chunks: &[Chunk], video: &Video, pixels: i32, what: &str) {
    let row = SIDE * size(pixels);
    let expected = [size_of::<cvx_frames_info>(), pixels as usize, FRAMES, SIDE, SIDE, row];
    let rest: Vec<i64> =
        expected.iter().chain([&(SIDE * row)]).map(|&number| number as i64).collect();
    assert!(chunks.iter().all(|chunk| chunk.rest[..] == rest), "{what}");
    let places = chunks.iter().map(|chunk| (chunk.video, chunk.first, chunk.count));
    assert_eq!(places.collect::<Vec<_>>(), [(0, 0, 9), (0, 9, 8), (1, 0, 9), (1, 9, 8)], "{what}");
    for index in 0..VIDEOS {
        let parts = chunks.iter().filter(|chunk| chunk.video == index);
        let whole: Vec<u8> = parts.flat_map(|chunk| chunk.data.iter().copied()).collect();
        assert!(whole == bytes(video, index, pixels), "{what}: video {index} differs");
    }
}

#[test]
fn chunks_are_the_frames_of_the_finished_video() {
    type Change = fn(&Options);
    let changes: [(&str, &[Change]); 4] = [
        ("whole", &[]),
        ("tiled", &[tiled]),
        ("sliced", &[sliced]),
        ("tiled and sliced", &[tiled, sliced]),
    ];
    for family in ["2b", "1.5-5b"] {
        let pipeline = Pipeline::load(family);
        let mut seen = Vec::new();
        for (name, changes) in changes {
            // How frames are decoded and what becomes of them have nothing to do with each other.
            let all = [CVX_PIXELS_RGB8, CVX_PIXELS_RGBA8, CVX_PIXELS_F32];
            for &pixels in if changes.is_empty() { &all[..] } else { &all[..1] } {
                let what = format!("{family}, {name}, pixels {pixels}");
                let options = options();
                changes.iter().for_each(|change| change(&options));
                let chunks = collect(&options, pixels);
                let video = generate(&pipeline, &options);
                compare(&chunks.lock().unwrap(), &video, pixels, &what);
                chunks.lock().unwrap().clear();
                let job = submit(&pipeline, &options);
                let of_job = job.video();
                compare(&chunks.lock().unwrap(), &of_job, pixels, &what);
                seen.push(bytes(&of_job, 1, CVX_PIXELS_F32));
            }
        }
        assert!(seen[0] != seen[3], "tiles make a slightly different picture");
    }
}

#[test]
fn the_first_chunk_comes_before_the_last_is_decoded() {
    let pipeline = Pipeline::load("2b");
    let options = options();
    let events = Arc::new(Mutex::new(Vec::new()));
    let (decoded, shown) = (Arc::clone(&events), Arc::clone(&events));
    on_progress(&options, move |info| {
        if info.stage == CVX_STAGE_DECODE && info.done > 0 {
            decoded.lock().unwrap().push(("decoded", info.done as i32));
        }
        0
    });
    on_frames(&options, CVX_PIXELS_RGB8, move |info| {
        shown.lock().unwrap().push(("shown", info.video * 100 + info.first_frame));
        0
    });
    let expected = [
        ("shown", 0),
        ("decoded", 1),
        ("shown", 9),
        ("decoded", 2),
        ("shown", 100),
        ("decoded", 3),
        ("shown", 109),
        ("decoded", 4),
    ];
    let job = submit(&pipeline, &options);
    let video = job.video();
    assert_eq!(*events.lock().unwrap(), expected);

    // So it is where latents are decoded by themselves.
    events.lock().unwrap().clear();
    let (numbers, shape) = latents(&video);
    let mut again = null_mut();
    // SAFETY: as a host calls it.
    ok(unsafe {
        let (data, shape) = (numbers.as_ptr(), shape.as_ptr());
        cvx_pipeline_decode_latents(pipeline.0, data, shape, 5, options.0, &mut again)
    });
    assert_eq!(*events.lock().unwrap(), expected);
    let again = Video(again);
    assert_eq!(bytes(&again, 1, CVX_PIXELS_F32), bytes(&video, 1, CVX_PIXELS_F32));

    // And no chunks come of a run that ends with latents.
    events.lock().unwrap().clear();
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_output(options.0, CVX_OUTPUT_LATENTS) });
    drop(generate(&pipeline, &options));
    assert!(events.lock().unwrap().is_empty());
}

#[test]
fn a_callback_stops_the_run_at_any_chunk() {
    let pipeline = Pipeline::load("2b");
    for stop_at in 1..=4 {
        let options = options();
        let calls = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&calls);
        on_frames(&options, CVX_PIXELS_RGB8, move |_| {
            let mut calls = counted.lock().unwrap();
            *calls += 1;
            // Anything but 0 stops.
            if *calls == stop_at {
                -7
            } else {
                0
            }
        });
        let frame = [0, 9, 0, 9][stop_at - 1];
        let words = ["frames callback", &format!("frame {frame} of video {}", (stop_at - 1) / 2)];
        let mut video = untouched();
        // SAFETY: as a host calls it.
        let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
        fails(CVX_ERROR_CANCELLED, &words, error);
        assert_eq!((video, *calls.lock().unwrap()), (untouched(), stop_at));
        *calls.lock().unwrap() = 0;
        let job = submit(&pipeline, &options);
        assert_eq!(job.wait(LONG), CVX_JOB_CANCELLED);
        fails(CVX_ERROR_CANCELLED, &words, job.take().0);
        assert_eq!(*calls.lock().unwrap(), stop_at);
    }
    // A callback that is taken away is called no more.
    let options = options();
    let chunks = collect(&options, CVX_PIXELS_RGB8);
    let (freed, free) = (freed(), Some(count_free as unsafe extern "C" fn(*mut c_void)));
    // SAFETY: as a host calls it.
    ok(unsafe {
        cvx_generate_options_set_frames_callback(options.0, 99, None, freed.pointer(), free)
    });
    assert_eq!(freed.times(), 1);
    drop(generate(&pipeline, &options));
    assert!(chunks.lock().unwrap().is_empty());
}

unsafe extern "C" fn ignore_frames(_: *const cvx_frames_info, _: *mut c_void) -> i32 {
    0
}

#[test]
fn settings_of_frames_are_checked() {
    let options = options();
    let freed = freed();
    let mut memory = [0u8; 8];
    // SAFETY: as a host calls it.
    unsafe {
        for pixels in [0, 6, -1, i32::MAX] {
            let words = ["pixels", "CVX_PIXELS_RGB8 (1)", &pixels.to_string()];
            let error = cvx_generate_options_set_frames_callback(
                options.0,
                pixels,
                Some(ignore_frames),
                freed.pointer(),
                Some(count_free),
            );
            fails(CVX_ERROR_INVALID_ARGUMENT, &words, error);
            let data = memory.as_mut_ptr().cast();
            let error = cvx_generate_options_set_frames_buffer(options.0, pixels, data, 8, 0, 0);
            fails(CVX_ERROR_INVALID_ARGUMENT, &words, error);
        }
        assert_eq!(freed.times(), 4, "given back where the setter fails");
        let (free, data) = (Some(count_free as unsafe extern "C" fn(*mut c_void)), freed.pointer());
        let error = cvx_generate_options_set_frames_callback(
            null_mut(),
            CVX_PIXELS_F32,
            Some(ignore_frames),
            data,
            free,
        );
        fails(CVX_ERROR_NULL_ARGUMENT, &["options"], error);
        assert_eq!(freed.times(), 5);
        for size in [usize::MAX, isize::MAX as usize + 1] {
            let (o, data) = (options.0, memory.as_mut_ptr().cast());
            let error = cvx_generate_options_set_frames_buffer(o, 1, data, size, 0, 0);
            fails(CVX_ERROR_INVALID_ARGUMENT, &["size", &size.to_string()], error);
        }
        for on_device in [2, -1] {
            let error = cvx_generate_options_set_frames_on_device(options.0, on_device);
            fails(CVX_ERROR_INVALID_ARGUMENT, &["on_device", &on_device.to_string()], error);
        }
    }
}

/// Memory of the host's with a byte of its own around everything that is written.
struct Memory {
    pixels: i32,
    offset: usize,
    row_stride: usize,
    frame_stride: usize,
    bytes: Vec<u8>,
}

const BLANK: u8 = 0x5a;

impl Memory {
    /// As little as the run needs, with more bytes than packed frames have in each stride.
    fn new(pixels: i32, offset: usize, more: [usize; 2]) -> Memory {
        let row = SIDE * size(pixels);
        let row_stride = row + more[0];
        let frame_stride = SIDE * row_stride + more[1];
        let needed = (VIDEOS * FRAMES - 1) * frame_stride + (SIDE - 1) * row_stride + row;
        let bytes = vec![BLANK; offset + needed + 1];
        Memory { pixels, offset, row_stride, frame_stride, bytes }
    }

    fn needed(&self) -> usize {
        self.bytes.len() - self.offset - 1
    }

    fn give(&mut self, options: &Options, size: usize) {
        let strides = [self.row_stride, self.frame_stride];
        let packed = [SIDE * self::size(self.pixels), SIDE * SIDE * self::size(self.pixels)];
        // What is packed is said in the short way.
        let [rows, frames] = if strides == packed { [0, 0] } else { strides };
        // SAFETY: the memory is as long as it says, and lives longer than the run.
        ok(unsafe {
            let data = self.bytes.as_mut_ptr().add(self.offset).cast();
            let pixels = self.pixels;
            cvx_generate_options_set_frames_buffer(options.0, pixels, data, size, rows, frames)
        });
    }

    /// What the memory must hold after the run.
    fn expected(&self, video: &Video) -> Vec<u8> {
        let mut expected = vec![BLANK; self.bytes.len()];
        let row = SIDE * size(self.pixels);
        for index in 0..VIDEOS {
            for (number, pixels) in bytes(video, index, self.pixels).chunks(row).enumerate() {
                let frame = index * FRAMES + number / SIDE;
                let start = self.offset + frame * self.frame_stride;
                let start = start + number % SIDE * self.row_stride;
                expected[start..start + row].copy_from_slice(pixels);
            }
        }
        expected
    }
}

#[test]
fn the_hosts_memory_holds_the_frames_and_nothing_around_them_is_touched() {
    let pipeline = Pipeline::load("2b");
    for pixels in [CVX_PIXELS_RGB8, CVX_PIXELS_RGBA8, CVX_PIXELS_F32] {
        // Also where numbers are not aligned.
        for (offset, more) in [(0, [0, 0]), (1, [0, 0]), (0, [5, 0]), (3, [0, 7]), (2, [64, 100])] {
            let options = options();
            if offset == 3 {
                tiled(&options);
            }
            let mut memory = Memory::new(pixels, offset, more);
            memory.give(&options, memory.needed());
            let video = submit(&pipeline, &options).video();
            assert!(memory.bytes == memory.expected(&video), "{pixels} {offset} {more:?}");
            memory.bytes.fill(BLANK);
            let video = generate(&pipeline, &options);
            assert!(memory.bytes == memory.expected(&video), "{pixels} {offset} {more:?}");
        }
    }
}

#[test]
fn memory_that_is_too_small_ends_a_run_before_it_computes() {
    let pipeline = Pipeline::load("2b");
    let options = options();
    let reports = freed();
    let counter = Sent::new(reports.pointer());
    on_progress(&options, move |_| {
        // SAFETY: the counter is never freed.
        unsafe { count_free(counter.get()) };
        0
    });
    let mut memory = Memory::new(CVX_PIXELS_RGBA8, 0, [6, 10]);
    let needed = memory.needed();
    let refused = |words: &[&str]| {
        let (mut video, mut job) = (untouched(), untouched());
        // SAFETY: as a host calls it.
        unsafe {
            let (p, o) = (pipeline.0, options.0);
            fails(CVX_ERROR_INVALID_ARGUMENT, words, cvx_pipeline_generate(p, o, &mut video));
            let error = cvx_pipeline_submit(p, o, None, null_mut(), None, &mut job);
            fails(CVX_ERROR_INVALID_ARGUMENT, words, error);
        }
        assert_eq!((video, job), (untouched(), untouched()));
    };
    for short in [needed - 1, 0] {
        memory.give(&options, short);
        let run = "2 × 17 frames of 32 × 32 pixels";
        refused(&["size", &format!("{needed} bytes"), run, &format!("found {short}")]);
    }
    let row = SIDE * 4;
    for (rows, frames, words) in [
        (row - 1, 0, ["row_stride", "at least 128"]),
        (row, SIDE * row - 1, ["frame_stride", "at least 4096"]),
        (usize::MAX, 0, ["too many", "32 × 32"]),
        (0, usize::MAX, ["too many", "32 × 32"]),
    ] {
        let data = memory.bytes.as_mut_ptr().cast();
        // SAFETY: as a host calls it.
        ok(unsafe {
            let size = memory.needed();
            cvx_generate_options_set_frames_buffer(options.0, 2, data, size, rows, frames)
        });
        refused(&words);
    }
    assert_eq!(reports.times(), 0, "nothing was computed");
    assert!(memory.bytes.iter().all(|&byte| byte == BLANK));

    // Latents by themselves are checked as well.
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_generate_options_set_output(options.0, CVX_OUTPUT_LATENTS));
        let video = generate(&pipeline, &options);
        assert!(memory.bytes.iter().all(|&byte| byte == BLANK), "a run without frames");
        let (numbers, shape) = latents(&video);
        memory.give(&options, needed - 1);
        let mut again = untouched();
        let (data, shape) = (numbers.as_ptr(), shape.as_ptr());
        let decode = cvx_pipeline_decode_latents;
        let error = decode(pipeline.0, data, shape, 5, options.0, &mut again);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["size", &needed.to_string()], error);
        assert_eq!(again, untouched());
        memory.give(&options, needed);
        ok(decode(pipeline.0, data, shape, 5, options.0, &mut again));
        let again = Video(again);
        assert!(memory.bytes == memory.expected(&again));

        // Taken away, it is left alone.
        memory.bytes.fill(BLANK);
        ok(cvx_generate_options_set_frames_buffer(options.0, 0, null_mut(), 9, 9, 9));
        ok(cvx_generate_options_set_output(options.0, CVX_OUTPUT_FRAMES));
        drop(generate(&pipeline, &options));
        assert!(memory.bytes.iter().all(|&byte| byte == BLANK));
    }
}

#[test]
fn the_memory_holds_what_the_callback_is_told_of() {
    let pipeline = Pipeline::load("2b");
    let options = options();
    let mut memory = Memory::new(CVX_PIXELS_F32, 0, [4, 0]);
    memory.give(&options, memory.needed());
    let (data, row_stride, frame_stride) =
        (Sent::new(memory.bytes.as_ptr()), memory.row_stride, memory.frame_stride);
    let found = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&found);
    on_frames(&options, CVX_PIXELS_F32, move |info| {
        // SAFETY: the memory outlives the run, and these frames are finished.
        let same = unsafe {
            let chunk = Chunk::of(info);
            (0..chunk.count * SIDE).all(|row| {
                let frame = chunk.video * FRAMES + chunk.first + row / SIDE;
                let start = frame * frame_stride + row % SIDE * row_stride;
                let length = info.row_stride;
                let written = std::slice::from_raw_parts(data.get().add(start), length);
                written == &chunk.data[row * length..][..length]
            })
        };
        noted.lock().unwrap().push(same);
        0
    });
    let video = submit(&pipeline, &options).video();
    assert_eq!(*found.lock().unwrap(), [true; 4]);
    assert!(memory.bytes == memory.expected(&video));
}
