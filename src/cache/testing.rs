//! Tensors for tests that leave the process's random generator alone.

use crate::Result;
use tch::{Device, Kind, Tensor};

/// Values between -1 and 1 that look random and depend on `seed` only.
pub fn noise(shape: &[i64], seed: i64, kind: Kind) -> Result<Tensor> {
    let count: i64 = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|i| {
            let x = ((i + 1) as f64 * 12.9898 + seed as f64 * 78.233).sin() * 43758.5453;
            (2.0 * (x - x.floor()) - 1.0) as f32
        })
        .collect();
    Ok(Tensor::f_from_slice(&values)?.f_view(shape)?.f_to_device(Device::Cpu)?.f_to_kind(kind)?)
}

/// The largest absolute difference.
pub fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    let delta = a.f_to_kind(Kind::Double)?.f_sub(&b.f_to_kind(Kind::Double)?)?;
    Ok(delta.f_abs()?.f_max()?.f_double_value(&[])?)
}
