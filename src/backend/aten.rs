//! Composed of libtorch's operators: for every device and dtype.

use super::{cuda, onednn};
use crate::runtime::dim;
use crate::{Error, Result};
use tch::{Device, Kind, Tensor};

/// The convolution of `x` (batch × in × size) in two or three dimensions.
pub fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    stride: i64,
    padding: &[i64],
) -> Result<Tensor> {
    let by_libtorch = || libtorch_convolution(x, weight, Some(bias), stride, padding);
    // Elsewhere libtorch does not take oneDNN for it.
    if x.device() != Device::Cpu || x.f_kind()? != Kind::Float {
        return by_libtorch();
    }
    match onednn::call(convolution_bytes(x, weight)?, by_libtorch)? {
        Some(y) => Ok(y),
        None => plain_convolution(x, weight, bias, stride, padding),
    }
}

/// The convolution of `x` by libtorch's operators, in the precision of its dtype on every device.
pub fn libtorch_convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: i64,
    padding: &[i64],
) -> Result<Tensor> {
    if x.device() != Device::Cpu && x.f_kind()? == Kind::Float {
        return cuda::convolution(x, weight, bias, stride, padding);
    }
    Ok(match padding.len() {
        2 => x.f_conv2d(weight, bias, [stride], padding, [1], 1)?,
        _ => x.f_conv3d(weight, bias, [stride], padding, [1], 1)?,
    })
}

/// Memory that a convolution's input, weight and output take, and as much again for other layouts
/// of them.
pub fn convolution_bytes(x: &Tensor, weight: &Tensor) -> Result<usize> {
    let wide = (dim(weight, 0)? / dim(x, 1)?.max(1)).clamp(1, 64) as usize;
    let bytes = onednn::bytes(&[x]).saturating_mul(1 + wide);
    Ok(bytes.saturating_add(onednn::bytes(&[weight])).saturating_mul(2))
}

/// The same by matrix products, without oneDNN.
pub fn plain_convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    stride: i64,
    padding: &[i64],
) -> Result<Tensor> {
    let kernel = |weight: &Tensor| weight.size().into_iter().skip(2).collect::<Vec<_>>();
    if padding.len() == 3 {
        let sides = [stride; 3];
        return Ok(x.f_slow_conv3d(weight, kernel(weight), Some(bias), sides, padding)?);
    }
    // An image is a volume of one layer.
    let (x, weight) = (x.f_unsqueeze(2)?, weight.f_unsqueeze(2)?);
    let padding = [&[0], padding].concat();
    let sides = [1, stride, stride];
    let y = x.f_slow_conv3d(&weight, kernel(&weight), Some(bias), sides, padding)?;
    Ok(y.f_squeeze_dim(2)?)
}

/// GELU without the approximation.
pub fn gelu(x: Tensor) -> Result<Tensor> {
    let mut x = x;
    if x.device() != Device::Cpu || x.f_kind()? != Kind::Float {
        return Ok(x.f_gelu_("none")?);
    }
    match onednn::call(onednn::bytes(&[&x]), || Ok(x.f_gelu("none")?))? {
        Some(y) => Ok(y),
        None => {
            let half = x.f_mul_scalar(0.5)?;
            let erf = x.f_mul_scalar(std::f64::consts::FRAC_1_SQRT_2)?.f_erf_()?;
            Ok(half.f_mul(&erf.f_add_scalar(1.0)?)?)
        }
    }
}

/// As `video::modulate_silu`.
pub fn modulate_silu(
    x: &Tensor,
    out: &mut Tensor,
    modulation: &Tensor,
    frames: &[i64],
) -> Result<()> {
    let (&[_, height, width, channels], &[_, lines, pixels, _]) =
        (x.size().as_slice(), modulation.size().as_slice())
    else {
        return Err(Error::Internal(format!(
            "modulation: expected two videos of four sides, found {:?} and {:?}",
            x.size(),
            modulation.size()
        )));
    };
    // Neighbours that share a scale are sides of their own, over which it is broadcast.
    let spread = |t: &Tensor, start: i64, count: i64| {
        t.f_narrow(0, start, count)?.f_view([
            count,
            lines,
            height / lines.max(1),
            pixels,
            width / pixels.max(1),
            channels,
        ])
    };
    let mut start = 0;
    for run in frames.chunk_by(|a, b| a == b) {
        let Some(&frame) = run.first() else { continue };
        let count = run.len() as i64;
        let table = modulation.f_narrow(0, frame, 1)?.f_unsqueeze(2)?.f_unsqueeze(4)?;
        let scale = table.f_narrow(-1, 0, channels)?;
        let shift = table.f_narrow(-1, channels, channels)?;
        let target = spread(out, start, count)?;
        let _ = shift.f_addcmul_out(&target, &spread(x, start, count)?, &scale)?;
        start += count;
    }
    let _ = out.f_silu_()?;
    Ok(())
}

/// As `video::statistics`.
pub fn statistics(x: &Tensor, groups: i64) -> Result<(Tensor, Tensor)> {
    let channels = dim(x, -1)?;
    let x = x.f_reshape([-1, groups, channels / groups.max(1)])?;
    let over = [0i64, 2];
    if x.f_kind()? == Kind::Float {
        let (variance, mean) = x.f_var_mean_correction(over.as_slice(), 0, false)?;
        return Ok((mean, variance));
    }
    // In half precision var_mean rounds its results. E[x²] - E[x]² in float32 loses less than
    // the rounding of the features themselves did.
    let count = (x.numel() as i64 / groups.max(1)) as f64;
    let mean = x.f_mean_dim(over.as_slice(), false, Kind::Float)?;
    let norm = x.f_norm_scalaropt_dim_dtype(2, over.as_slice(), false, Kind::Float)?;
    let variance = norm.f_square()?.f_div_scalar(count)?.f_sub(&mean.f_square()?)?;
    Ok((mean, variance.f_clamp_min(0)?))
}

/// As `video::pixel_shuffle`, without moments.
pub fn pixel_shuffle(phases: &[Tensor; 4], out: &Tensor) -> Result<()> {
    let &[frames, height, width, channels] = out.size().as_slice() else {
        return Err(Error::Internal(format!(
            "pixel shuffle: expected a video of four sides, found {:?}",
            out.size()
        )));
    };
    let (height, width) = (height / 2, width / 2);
    let out = out.f_view([frames, height, 2, width, 2, channels])?;
    for (phase, (p, q)) in phases.iter().zip([(0, 0), (0, 1), (1, 0), (1, 1)]) {
        let pixels = phase.f_narrow(1, p, height)?.f_narrow(2, q, width)?;
        out.f_select(4, q)?.f_select(2, p)?.f_copy_(&pixels)?;
    }
    Ok(())
}
