//! Frames and latents for other libraries: the tensors that DLPack describes, read as its C
//! header lays them out.

use crate::job_support::*;
use crate::support::*;
use cogvideox::capi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::thread;

/// DLTensor of dlpack.h.
#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// DLManagedTensor of dlpack.h.
#[repr(C)]
struct Managed {
    tensor: DlTensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
}

const CPU: i32 = 1;
const UNSIGNED: u8 = 1;
const FLOAT: u8 = 2;

/// A consumer's tensor, which calls the deleter.
struct Imported(*mut Managed);

// SAFETY: DLPack's tensors belong to no thread.
unsafe impl Send for Imported {}

impl Drop for Imported {
    fn drop(&mut self) {
        // SAFETY: the deleter is called once, as DLPack wants it.
        unsafe { (*self.0).deleter.unwrap()(self.0) }
    }
}

impl Imported {
    fn frames(video: &Video, index: i32, pixels: i32) -> Imported {
        let mut out = null_mut();
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_video_frames_dlpack(video.0, index, pixels, &mut out) });
        Imported(out.cast())
    }

    fn latents(video: &Video) -> Imported {
        let mut out = null_mut();
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_video_latents_dlpack(video.0, &mut out) });
        Imported(out.cast())
    }

    /// Shape, dtype and what else describes it; and that it is dense.
    fn check(&self, shape: &[i64], code: u8, bits: u8) {
        // SAFETY: the tensor is alive and laid out as DLPack says.
        unsafe {
            let tensor = &(*self.0).tensor;
            assert_eq!((tensor.device_type, tensor.device_id), (CPU, 0));
            assert_eq!((tensor.code, tensor.bits, tensor.lanes), (code, bits, 1));
            assert_eq!(tensor.byte_offset, 0);
            let rank = tensor.ndim as usize;
            assert_eq!(std::slice::from_raw_parts(tensor.shape, rank), shape);
            if !tensor.strides.is_null() {
                let strides = std::slice::from_raw_parts(tensor.strides, rank);
                let mut dense = 1;
                for (dimension, &side) in shape.iter().enumerate().rev() {
                    assert!(side == 1 || strides[dimension] == dense, "{strides:?}");
                    dense *= side;
                }
            }
        }
    }

    fn data(&self) -> *mut c_void {
        // SAFETY: the tensor is alive.
        unsafe { (*self.0).tensor.data }
    }

    /// Its elements, `T` being what `check` found them to be.
    fn elements<T: Copy>(&self) -> Vec<T> {
        // SAFETY: dense, as was checked, and as many as the shape says.
        unsafe {
            let tensor = &(*self.0).tensor;
            let shape = std::slice::from_raw_parts(tensor.shape, tensor.ndim as usize);
            let count = shape.iter().product::<i64>() as usize;
            std::slice::from_raw_parts(tensor.data.cast::<T>(), count).to_vec()
        }
    }
}

fn two_videos() -> Video {
    let pipeline = Pipeline::load("2b");
    let options = Options::small(1);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_num_videos(options.0, 2) });
    generate(&pipeline, &options)
}

fn floats(video: &Video, index: i32) -> *const f32 {
    let mut data = null();
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_video_frames_f32(video.0, index, &mut data, null_mut()) });
    data
}

#[test]
fn frames_are_shared_in_every_format_and_outlive_their_video() {
    let video = two_videos();
    let count = 9 * 32 * 32;
    let mut tensors = Vec::new();
    for index in 0..2 {
        let (mut rgb, mut rgba) = (null(), null());
        // SAFETY: as a host calls it; frames live as long as the video.
        let expected = unsafe {
            ok(cvx_video_frames_rgb8(video.0, index, &mut rgb, null_mut()));
            ok(cvx_video_frames_rgba8(video.0, index, &mut rgba, null_mut()));
            (
                std::slice::from_raw_parts(floats(&video, index), count * 3).to_vec(),
                std::slice::from_raw_parts(rgb, count * 3).to_vec(),
                std::slice::from_raw_parts(rgba, count * 4).to_vec(),
            )
        };
        let shared = [CVX_PIXELS_F32, CVX_PIXELS_RGB8, CVX_PIXELS_RGBA8]
            .map(|pixels| Imported::frames(&video, index, pixels));
        // The very memory that the video hands out, not a copy.
        let pointers = [floats(&video, index).cast(), rgb, rgba];
        assert_eq!(shared.each_ref().map(|tensor| tensor.data().cast_const().cast()), pointers);
        tensors.push((shared, expected));
    }
    // Asked again, it is another tensor over the same memory.
    let again = Imported::frames(&video, 1, CVX_PIXELS_RGBA8);
    assert_eq!(again.data(), tensors[1].0[2].data());
    assert_ne!(again.0, tensors[1].0[2].0);
    drop(again);
    drop(video);
    for ([numbers, rgb, rgba], expected) in &tensors {
        numbers.check(&[9, 32, 32, 3], FLOAT, 32);
        rgb.check(&[9, 32, 32, 3], UNSIGNED, 8);
        rgba.check(&[9, 32, 32, 4], UNSIGNED, 8);
        assert_eq!(numbers.elements::<f32>(), expected.0);
        assert_eq!(rgb.elements::<u8>(), expected.1);
        assert_eq!(rgba.elements::<u8>(), expected.2);
    }
    // The consumer may let go of it on another thread.
    thread::spawn(move || drop(tensors)).join().unwrap();
}

#[test]
fn what_a_consumer_writes_the_video_shows() {
    let video = two_videos();
    let tensor = Imported::frames(&video, 1, CVX_PIXELS_F32);
    // SAFETY: both are alive, and nobody else uses them.
    unsafe {
        *tensor.data().cast::<f32>() = 0.25;
        assert_eq!(*floats(&video, 1), 0.25);
    }
    drop(tensor);
    // SAFETY: the video is alive.
    assert_eq!(unsafe { *floats(&video, 1) }, 0.25, "the memory is the video's still");
}

#[test]
fn latents_are_those_of_the_run() {
    let pipeline = Pipeline::load("1.5-5b");
    let options = Options::latents(1);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_num_videos(options.0, 2) });
    for video in [generate(&pipeline, &options), submit(&pipeline, &options).video()] {
        let (expected, shape) = latents(&video);
        let tensor = Imported::latents(&video);
        drop(video);
        tensor.check(&shape, FLOAT, 32);
        assert_eq!(tensor.elements::<f32>(), expected);
    }
}

#[test]
fn frames_lie_where_the_video_says() {
    let pipeline = Pipeline::load("2b");
    let options = Options::small(1);
    let mut seen = Vec::new();
    for on_device in [0, 1] {
        // SAFETY: as a host calls it; frames live as long as the video.
        unsafe {
            ok(cvx_generate_options_set_frames_on_device(options.0, on_device));
            let video = generate(&pipeline, &options);
            assert_eq!(text(cvx_video_frames_device(video.0)), "cpu");
            let (mut data, mut size, mut stream) = (null(), 0, untouched::<c_void>());
            ok(cvx_video_device_frames(video.0, 0, &mut data, &mut size, &mut stream));
            assert_eq!((size, stream), (9 * 32 * 32 * 3 * 4, null_mut()));
            assert_eq!(data, floats(&video, 0).cast());
            ok(cvx_video_device_frames(video.0, 0, &mut data, &mut size, null_mut()));
            seen.push(std::slice::from_raw_parts(data.cast::<f32>(), size / 4).to_vec());
        }
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn what_is_not_there_is_named_and_nothing_written() {
    let video = two_videos();
    let pipeline = Pipeline::load("2b");
    let without = generate(&pipeline, &Options::latents(1));
    // SAFETY: as a host calls it.
    unsafe {
        let mut tensor = untouched();
        let (mut data, mut size) = (null(), 7);
        for index in [-1, 2] {
            let words = ["index", "[0, 2)", &index.to_string()];
            let error = cvx_video_frames_dlpack(video.0, index, CVX_PIXELS_F32, &mut tensor);
            fails(CVX_ERROR_INVALID_ARGUMENT, &words, error);
            let error = cvx_video_device_frames(video.0, index, &mut data, &mut size, null_mut());
            fails(CVX_ERROR_INVALID_ARGUMENT, &words, error);
        }
        for pixels in [0, 4] {
            let error = cvx_video_frames_dlpack(video.0, 0, pixels, &mut tensor);
            fails(CVX_ERROR_INVALID_ARGUMENT, &["pixels", &pixels.to_string()], error);
        }
        let error = cvx_video_frames_dlpack(video.0, 0, CVX_PIXELS_F32, null_mut());
        fails(CVX_ERROR_NULL_ARGUMENT, &["out_tensor"], error);
        fails(
            CVX_ERROR_NULL_ARGUMENT,
            &["out_tensor"],
            cvx_video_latents_dlpack(video.0, null_mut()),
        );
        for (data, size, word) in
            [(null_mut(), &raw mut size, "out_data"), (&raw mut data, null_mut(), "out_size")]
        {
            let error = cvx_video_device_frames(video.0, 0, data, size, null_mut());
            fails(CVX_ERROR_NULL_ARGUMENT, &[word], error);
        }
        for pixels in [CVX_PIXELS_RGB8, CVX_PIXELS_RGBA8, CVX_PIXELS_F32] {
            let error = cvx_video_frames_dlpack(without.0, 0, pixels, &mut tensor);
            fails(CVX_ERROR_INVALID_ARGUMENT, &["no frames"], error);
        }
        let error = cvx_video_device_frames(without.0, 0, &mut data, &mut size, null_mut());
        fails(CVX_ERROR_INVALID_ARGUMENT, &["no frames"], error);
        assert_eq!(text(cvx_video_frames_device(without.0)), "");
        assert_eq!((tensor, data, size), (untouched(), null(), 7));
        drop(Imported::latents(&without));
    }
}
