//! The VAE's kernels: convolutions with oneDNN's weight layout, and what lies between them.

use crate::backend::onednn;
use crate::runtime::shim::call;
use crate::Result;
use std::ffi::c_char;
use std::ptr::null_mut;
use tch::Tensor;

mod ffi {
    use super::c_char;
    use torch_sys::C_tensor;

    extern "C" {
        pub fn cvx_shim_vae_moments(
            x: *const C_tensor,
            copy: *mut C_tensor,
            sums: *mut f64,
            sums_size: i64,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_vae_modulate_silu(
            x: *const C_tensor,
            out: *mut C_tensor,
            modulation: *const C_tensor,
            frames: *const i64,
            frames_size: i64,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_vae_pixel_shuffle(
            phases: *const *const C_tensor,
            out: *mut C_tensor,
            sums: *mut f64,
            sums_size: i64,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_conv_available() -> i32;
        pub fn cvx_shim_conv_pack(
            weight: *const C_tensor,
            padding: *const i64,
            dimensions: i64,
            input_size: *const i64,
            out: *mut *mut C_tensor,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_conv(
            x: *const C_tensor,
            packed: *const C_tensor,
            bias: *const C_tensor,
            padding: *const i64,
            dimensions: i64,
            out: *mut *mut C_tensor,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_conv_add(
            sum: *mut C_tensor,
            x: *const C_tensor,
            packed: *const C_tensor,
            bias: *const C_tensor,
            padding: *const i64,
            dimensions: i64,
            message: *mut *mut c_char,
        ) -> i32;
    }
}

/// Adds the sums over `x` (frames × height × width × channels) to `sums`: of the values per
/// channel, then of their squares per channel. With `copy`, also copies x there.
pub fn moments(x: &Tensor, copy: Option<&mut Tensor>, sums: &mut [f64]) -> Result<()> {
    let copy = copy.map_or(null_mut(), |copy| copy.as_mut_ptr());
    // SAFETY: the tensors are alive during the call; the shim checks their layout and that
    // `sums` is as long as it must be.
    call(|message| unsafe {
        let size = sums.len() as i64;
        ffi::cvx_shim_vae_moments(x.as_ptr(), copy, sums.as_mut_ptr(), size, message)
    })
}

/// `out = silu(x · scale + shift)`. Frame i of `x` reads frame `frames[i]` of `modulation`
/// (latent frames × latent height × latent width × 2 channels: scales, then shifts), spread
/// over the pixels of x as nearest-neighbour upsampling does.
pub fn modulate_silu(
    x: &Tensor,
    out: &mut Tensor,
    modulation: &Tensor,
    frames: &[i64],
) -> Result<()> {
    // SAFETY: the tensors and `frames` are alive during the call, and the shim checks that
    // they fit each other.
    call(|message| unsafe {
        ffi::cvx_shim_vae_modulate_silu(
            x.as_ptr(),
            out.as_mut_ptr(),
            modulation.as_ptr(),
            frames.as_ptr(),
            frames.len() as i64,
            message,
        )
    })
}

/// Pixel shuffle of the four phases of an upsampled video, each (frames × height + 1 × width + 1 ×
/// channels), into `out` (frames × 2 height × 2 width × channels): pixel (2h + p, 2w + q) is
/// pixel (h + p, w + q) of `phases[2p + q]`. Adds the moments of `out` to `sums`.
pub fn pixel_shuffle(phases: &[Tensor; 4], out: &mut Tensor, sums: &mut [f64]) -> Result<()> {
    let phases = phases.each_ref().map(|phase| phase.as_ptr());
    // SAFETY: the tensors are alive during the call; the shim checks their layout and that
    // `sums` is as long as it must be.
    call(|message| unsafe {
        ffi::cvx_shim_vae_pixel_shuffle(
            phases.as_ptr(),
            out.as_mut_ptr(),
            sums.as_mut_ptr(),
            sums.len() as i64,
            message,
        )
    })
}

/// A convolution's weight in the layout that oneDNN likes best for it. Only [`conv`] and
/// [`conv_add`] can read it.
pub struct PackedWeight(Tensor);

/// Whether this libtorch has oneDNN's convolutions; without them only libtorch's own can run.
pub fn conv_available() -> bool {
    // SAFETY: takes no arguments.
    unsafe { ffi::cvx_shim_conv_available() != 0 }
}

impl PackedWeight {
    /// Packs `weight` (out × in × kernel) for inputs of about `input_size` (batch × in ×
    /// size), stride 1 and `padding` in each dimension of the kernel.
    pub fn new(weight: &Tensor, padding: &[i64], input_size: &[i64]) -> Result<PackedWeight> {
        debug_assert_eq!(input_size.len(), padding.len() + 2);
        let mut out = null_mut();
        // SAFETY: the tensor and the slices are alive during the call; `out` is valid for
        // writing; `input_size` has two elements more than `padding`.
        call(|message| unsafe {
            ffi::cvx_shim_conv_pack(
                weight.as_ptr(),
                padding.as_ptr(),
                padding.len() as i64,
                input_size.as_ptr(),
                &mut out,
                message,
            )
        })?;
        // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
        Ok(PackedWeight(unsafe { Tensor::from_ptr(out) }))
    }

    /// The weight as torch keeps it, in memory of its own.
    pub fn unpacked(&self) -> Result<Tensor> {
        onednn::unpacked(&self.0)
    }

    /// As it is stored; of it, only the shape can be asked.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }
}

/// The convolution of `x` (batch × in × size) with stride 1.
pub fn conv(x: &Tensor, weight: &PackedWeight, bias: &Tensor, padding: &[i64]) -> Result<Tensor> {
    let mut out = null_mut();
    // SAFETY: the tensors and the slice are alive during the call; `out` is valid for writing.
    call(|message| unsafe {
        ffi::cvx_shim_conv(
            x.as_ptr(),
            weight.0.as_ptr(),
            bias.as_ptr(),
            padding.as_ptr(),
            padding.len() as i64,
            &mut out,
            message,
        )
    })?;
    // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Adds that convolution to `sum`, which is dense in the same memory format as `x`.
pub fn conv_add(
    sum: &mut Tensor,
    x: &Tensor,
    weight: &PackedWeight,
    bias: &Tensor,
    padding: &[i64],
) -> Result<()> {
    // SAFETY: the tensors and the slice are alive during the call.
    call(|message| unsafe {
        ffi::cvx_shim_conv_add(
            sum.as_mut_ptr(),
            x.as_ptr(),
            weight.0.as_ptr(),
            bias.as_ptr(),
            padding.as_ptr(),
            padding.len() as i64,
            message,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    /// SiLU of `x`, by the kernel with scale 1 and shift 0.
    fn silu(values: &[f32]) -> Vec<f32> {
        let channels = values.len() as i64;
        let x = Tensor::from_slice(values).reshape([1, 1, 1, channels]);
        let options = (Kind::Float, Device::Cpu);
        let modulation = Tensor::cat(
            &[Tensor::ones([channels], options), Tensor::zeros([channels], options)],
            0,
        );
        let mut out = x.zeros_like();
        let modulation = modulation.reshape([1, 1, 1, 2 * channels]);
        modulate_silu(&x, &mut out, &modulation, &[0]).unwrap();
        Vec::try_from(out.reshape([channels])).unwrap()
    }

    #[test]
    fn silu_is_right_from_the_smallest_to_the_largest_values() {
        let mut values: Vec<f32> = (-2000..=2000).map(|i| i as f32 * 0.05).collect();
        values.extend([1e-30, -1e-30, 1e-6, -1e-6, 86.9, 87.1, -86.9, 1e20, 3e38]);
        for (x, y) in values.iter().zip(silu(&values)) {
            let exact = f64::from(*x) / (1.0 + (-f64::from(*x)).exp());
            let bound = 4.0 * f64::from(f32::EPSILON) * exact.abs() + 1e-35;
            assert!((f64::from(y) - exact).abs() <= bound, "silu({x}) = {y}, not {exact}");
        }
    }

    #[test]
    fn what_is_no_number_stays_one() {
        let values = [f32::NAN, 1.0, f32::INFINITY, -1.0, f32::NAN, 0.0, -0.0, 2.0, -f32::NAN];
        let found = silu(&values);
        for (x, y) in values.iter().zip(&found) {
            assert_eq!(x.is_nan(), y.is_nan(), "silu({x}) = {y}");
        }
        assert_eq!(found[2], f32::INFINITY);
        assert_eq!((found[5], found[6]), (0.0, -0.0));
    }
}
