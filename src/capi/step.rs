//! The step callback: latents during a run, to look at, to replace, to show and to save; and runs
//! that go on from what was saved.

use super::callbacks::answer_to;
use super::convert::{text, within, Out};
use super::error::{cvx_error, Failure};
use super::generate_options::{cvx_generate_options, latents_tensor};
use super::handle::{self, borrow_mut};
use super::panic::fallible;
use super::pipeline_lora::WEIGHTS;
use super::user_data::{cvx_free_callback, Callback};
use crate::pipeline::step::{StepAnswer, StepCallback, StepEnd};
use crate::runtime::shim::dlpack::{DLManagedTensor, Exported};
use crate::runtime::{device, device_threads};
use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use tch::Tensor;

/// A denoising step that has just finished: what the step callback's functions, cvx_step_…, work
/// on. It belongs to the library and is good until the callback returns, on the callback's thread.
/// What it hands out lives as long, but for what says otherwise.
///
/// Since 0.1.
pub struct cvx_step {
    end: StepEnd,
    latents: Option<Tensor>,
    preview: Vec<u8>,
}

impl cvx_step {
    /// Work with the latents, where work on their device is done.
    fn work<T>(&self, work: impl FnOnce(&StepEnd) -> crate::Result<T>) -> crate::Result<T> {
        device_threads::on(self.end.latents().device(), || work(&self.end))
    }
}

/// The denoising step that has just finished. Later versions may add fields at the end: read a
/// field only if struct_size reaches beyond it.
///
/// Since 0.1.
#[repr(C)]
pub struct cvx_step_end_info {
    /// Bytes of this struct in the library that calls.
    pub struct_size: u32,
    /// The step, counted from 0.
    pub step: i32,
    /// Steps of the run.
    pub num_steps: i32,
    /// 0.
    pub reserved: i32,
    /// The training timestep that the step began at.
    pub timestep: f64,
    /// What the step was guided with; with use_dynamic_cfg what that made of it.
    pub guidance_scale: f64,
    /// For the functions cvx_step_…, during the call only.
    pub handle: *mut cvx_step,
}

/// Called after each denoising step, as callback_on_step_end of diffusers; returns 0 to go on and
/// anything else to stop, which ends the run with CVX_ERROR_CANCELLED.
///
/// Called before the progress callback is told of the step, on the thread that called
/// cvx_pipeline_generate, or on the pipeline's worker thread for a job; the run waits for it. info
/// lives during the call only. It must not throw or longjmp. Calling back into the pipeline that is
/// working is answered with CVX_ERROR_BUSY; other objects may be used freely.
///
/// Since 0.1.
pub type cvx_step_callback =
    Option<unsafe extern "C" fn(info: *const cvx_step_end_info, user_data: *mut c_void) -> i32>;

type HostStep =
    Callback<unsafe extern "C" fn(info: *const cvx_step_end_info, user_data: *mut c_void) -> i32>;

/// Calls the host.
fn show(callback: &HostStep, end: StepEnd) -> StepAnswer {
    let narrow = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    let (step, num_steps) = (narrow(end.index), narrow(end.total));
    let (timestep, guidance_scale) = (end.timestep as f64, end.guidance_scale);
    let handle = handle::new(cvx_step { end, latents: None, preview: Vec::new() });
    let info = cvx_step_end_info {
        struct_size: size_of::<cvx_step_end_info>() as u32,
        step,
        num_steps,
        reserved: 0,
        timestep,
        guidance_scale,
        handle,
    };
    // SAFETY: the host's function, called as the header says.
    let returned = unsafe { callback.call(&info) };
    // SAFETY: made above; no function frees it, and the host does not use it any more.
    let taken = unsafe { handle::take(handle) };
    match taken {
        Some(step) => step.end.answer(answer_to(returned)),
        None => StepAnswer {
            changes: Default::default(),
            flow: ControlFlow::Break(crate::runtime::Stop::Failed(crate::Error::Internal(
                "the step is gone".into(),
            ))),
        },
    }
}

/// Called after each denoising step, with access to the latents. NULL (default) calls nothing.
/// Runs that tune or calibrate a cache do not call it.
///
/// Takes over user_data in any case, see cvx_free_callback; a run or job keeps it until it ends.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_step_callback(
    options: *mut cvx_generate_options,
    callback: cvx_step_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(callback, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        let callback = callback
            .map(|callback| StepCallback(Arc::new(move |end: StepEnd| show(&callback, end))));
        // Dropped when the options are in order again: the host's free function may look.
        let previous = std::mem::replace(&mut options.options.step_callback, callback);
        drop(previous);
        Ok(())
    })
}

/// The latents that the next step starts from, in host memory: out_shape receives 5 numbers,
/// (videos, latent frames, channels, latent height, latent width), and the numbers at data are
/// densely packed. In the 1.5 family the padding frames at the front are among them. The memory
/// lives until the callback returns, or cvx_step_set_latents is called; it is read only.
///
/// Errors: NULL_ARGUMENT, OUT_OF_MEMORY. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_step_latents(
    step: *mut cvx_step,
    out_data: *mut *const f32,
    out_shape: *mut i64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (step, out, shape) = unsafe {
            (
                borrow_mut(step, "step")?,
                Out::new(out_data, "out_data")?,
                Out::new(out_shape.cast::<[i64; 5]>(), "out_shape")?,
            )
        };
        let latents = match step.latents.take() {
            Some(latents) => latents,
            None => step.work(StepEnd::host_latents)?,
        };
        let sides = <[i64; 5]>::try_from(latents.size())
            .map_err(|sides| Failure::internal(format!("latents of shape {sides:?}")))?;
        out.write(latents.data_ptr().cast::<f32>().cast_const());
        shape.write(sides);
        step.latents = Some(latents);
        Ok(())
    })
}

/// The same latents where they lie, in the pipeline's dtype and on its device, as DLPack's
/// DLManagedTensor (dlpack.h, which the host includes itself). The memory is the run's, not a copy,
/// and is read only. It lives as long as the tensor, also when the callback has returned. On success
/// *out_tensor is owned by the caller; whoever consumes it calls its deleter, once, on any thread.
/// What the device was given to do with them is done.
///
/// Errors: NULL_ARGUMENT, OUT_OF_MEMORY. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_step_latents_dlpack(
    step: *mut cvx_step,
    out_tensor: *mut *mut DLManagedTensor,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (step, out) =
            unsafe { (borrow_mut(step, "step")?, Out::new(out_tensor, "out_tensor")?) };
        let latents = step.end.latents();
        let tensor = device_threads::on(latents.device(), || {
            device::finish_stream(latents)?;
            Exported::tensor(latents)
        })?;
        out.write(tensor.into_raw());
        Ok(())
    })
}

/// The run goes on with these latents instead: shape must be the one that cvx_step_latents tells,
/// data holds that many numbers, densely packed. The data is copied. Afterwards the other functions
/// show the new latents.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (another shape, a number that is not finite); the latents
/// stay as they were then. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_step_set_latents(
    step: *mut cvx_step,
    data: *const f32,
    shape: *const i64,
    rank: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (step, latents) =
            unsafe { (borrow_mut(step, "step")?, latents_tensor(data, shape, rank)?) };
        if latents.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(Failure::invalid("latents: expected finite numbers, found others"));
        }
        let device = step.end.latents().device();
        device_threads::on(device, || step.end.set_latents(&latents))?;
        step.latents = None;
        Ok(())
    })
}

/// Guides with another scale from the next step on, from -1e6 to 1e6; with use_dynamic_cfg it is
/// what guidance grows to. A run that began without guidance has none to change.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_step_set_guidance_scale(
    step: *mut cvx_step,
    guidance_scale: f64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let step = unsafe { borrow_mut(step, "step")? };
        within("guidance_scale", guidance_scale, WEIGHTS)?;
        Ok(step.end.set_guidance_scale(guidance_scale)?)
    })
}

/// The latents as a small picture of each latent frame: bytes R, G, B at latent resolution, densely
/// packed; out_shape receives 5 numbers, (videos, latent frames, latent height, latent width, 3).
/// Padding frames of the 1.5 family are left out. The memory lives until the callback returns or the
/// function is called again.
///
/// Each pixel is a linear map of the channels of a latent pixel, and nothing is decoded: it takes far
/// less time than a step. The map is made when the first preview of a pipeline or its clones is asked
/// for: a few small random latents are decoded, and it is fitted to their colours by least squares.
/// With a tiny decoder (a file taecvx.safetensors in the pipeline's folder, or that of
/// cvx_load_options_set_preview_decoder), frames of the full size instead, as many as the run ends
/// with: out_shape is (videos, frames, height, width, 3) then.
/// Early in a run latents are mostly noise, and so is the picture.
///
/// Errors: NULL_ARGUMENT, CANCELLED, OUT_OF_MEMORY. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_step_preview_rgb8(
    step: *mut cvx_step,
    out_data: *mut *const u8,
    out_shape: *mut i64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (step, out, shape) = unsafe {
            (
                borrow_mut(step, "step")?,
                Out::new(out_data, "out_data")?,
                Out::new(out_shape.cast::<[i64; 5]>(), "out_shape")?,
            )
        };
        let (sides, pixels) = step.work(StepEnd::preview)?;
        step.preview = pixels;
        out.write(step.preview.as_ptr());
        shape.write(sides);
        Ok(())
    })
}

/// Writes to path, a safetensors file, what a run needs to go on after this step with
/// cvx_generate_options_set_resume: latents and guidance as they are after what the callback
/// changed, the random numbers, what the scheduler keeps, and what the run was asked for. A file
/// that is there already is replaced, whole or not at all.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, NOT_FOUND (the parent folder), IO, OUT_OF_MEMORY.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_step_save(step: *mut cvx_step, path: *const c_char) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (step, path) = unsafe { (borrow_mut(step, "step")?, text(path, "path")?) };
        Ok(step.work(|end| end.save(Path::new(path)))?)
    })
}

/// The run goes on from a file that cvx_step_save wrote, instead of from noise, and gives the bytes
/// of the unbroken run, on the same kind of device. The other options must be those of that run:
/// prompts, size, steps, guidance, seed, scheduler, image, adapters by name and weight; what comes
/// after denoising and the callbacks may differ. Weights are not compared. With a cache the run is
/// not the unbroken one to the byte: what a cache keeps is not in the file, so it starts anew at this
/// step, as if the run began there, and the log says so. NULL (default) starts from noise. The file
/// is read when a run starts.
///
/// Errors of the run: NOT_FOUND, IO, INVALID_ARGUMENT (no such file, or the state of another run,
/// naming the setting, what was expected and what was found). Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_resume(
    options: *mut cvx_generate_options,
    path_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, path) = unsafe {
            (borrow_mut(options, "options")?, super::convert::optional_text(path_or_null, "path")?)
        };
        options.options.resume = path.map(Into::into);
        Ok(())
    })
}
