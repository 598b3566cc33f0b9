//! A layer's output and, where they come for free, its moments.

use crate::backend::{video, Backend};
use crate::runtime::{dim, pieces, Control};
use crate::{Error, Result};
use tch::Tensor;

/// Features of a group of frames.
pub(super) struct Features {
    /// Frames × height × width × channels, dense.
    pub data: Tensor,
    /// Each frame of `data` stands for two, but for the first of an odd number.
    pub doubled: bool,
    /// Per channel the sum, then per channel the sum of squares, of what was put in so far,
    /// doubled frames counted twice. With [`Backend::Fused`] alone: elsewhere norms go
    /// through `data` for them.
    moments: Option<Vec<f64>>,
    backend: Backend,
}

impl Features {
    /// Features that are to be put in `data`, part by part.
    pub fn into(data: Tensor, doubled: bool, backend: &Backend) -> Result<Features> {
        let moments = match backend {
            Backend::Fused => Some(vec![0.0; 2 * dim(&data, -1)? as usize]),
            Backend::Cuda(_) | Backend::Aten => None,
        };
        Ok(Features { data, doubled, moments, backend: backend.clone() })
    }

    /// Frames, height, width and channels of `data`.
    pub fn size(&self) -> Result<[i64; 4]> {
        let size = self.data.size();
        size.as_slice()
            .try_into()
            .map_err(|_| Error::Internal(format!("VAE: features of {size:?}")))
    }

    /// Frames that are held once and stand for one.
    pub fn single_frames(&self) -> Result<i64> {
        let frames = self.size()?[0];
        Ok(if self.doubled { frames % 2 } else { frames })
    }

    /// Frames, doubled ones counted twice.
    pub fn frames(&self) -> Result<i64> {
        Ok(2 * self.size()?[0] - self.single_frames()?)
    }

    /// Held frames `start` to `start + count`; a view.
    pub fn part(&self, start: i64, count: i64) -> Result<Tensor> {
        Ok(self.data.f_narrow(0, start, count)?)
    }

    /// Puts in `y` as the held frames from `start`.
    pub fn put(&mut self, y: &Tensor, start: i64, control: &Control) -> Result<()> {
        let count = dim(y, 0)?;
        let target = self.part(start, count)?;
        self.count(start, count, |sums| moments(y, Some(&target), sums, control))
    }

    /// Takes note that `count` held frames from `start` have been written.
    pub fn written(&mut self, start: i64, count: i64, control: &Control) -> Result<()> {
        let part = self.part(start, count)?;
        self.count(start, count, |sums| moments(&part, None, sums, control))
    }

    /// Calls `add` with where to add the moments of held frames `start` to `start + count`,
    /// which are all doubled or all single.
    pub fn count(
        &mut self,
        start: i64,
        count: i64,
        add: impl FnOnce(Option<&mut [f64]>) -> Result<()>,
    ) -> Result<()> {
        let single = self.single_frames()?;
        let Some(sums) = &mut self.moments else { return add(None) };
        if start + count <= single {
            return add(Some(sums));
        }
        let mut once = vec![0.0; sums.len()];
        add(Some(&mut once))?;
        sums.iter_mut().zip(once).for_each(|(sum, once)| *sum += 2.0 * once);
        Ok(())
    }

    /// Mean and 1 / √(variance + ε) of each of `groups` groups of channels: float32, on the
    /// device of the features.
    pub fn statistics(&self, groups: i64, epsilon: f64) -> Result<(Tensor, Tensor)> {
        let [held, height, width, _] = self.size()?;
        if let Some(sums) = &self.moments {
            return statistics_of_sums(sums, self.frames()? * height * width, groups, epsilon);
        }
        let single = self.single_frames()?;
        let (mean, variance) = if single == 0 || single == held {
            video::statistics(&self.backend, &self.data, groups)?
        } else {
            // The parts count by the frames that they stand for.
            let rest = held - single;
            let share = single as f64 / (single + 2 * rest) as f64;
            let statistics = |part: Tensor| video::statistics(&self.backend, &part, groups);
            let (mean, variance) = statistics(self.part(0, single)?)?;
            let (rest_mean, rest_variance) = statistics(self.part(single, rest)?)?;
            let between =
                mean.f_sub(&rest_mean)?.f_square()?.f_mul_scalar(share * (1.0 - share))?;
            let mean = rest_mean.f_lerp(&mean, share)?;
            (mean, rest_variance.f_lerp(&variance, share)?.f_add(&between)?)
        };
        Ok((mean, variance.f_add_scalar(epsilon)?.f_rsqrt()?))
    }
}

/// [`video::moments`], frame by frame and in pieces of rows where that would take long.
fn moments(
    x: &Tensor,
    copy: Option<&Tensor>,
    mut sums: Option<&mut [f64]>,
    control: &Control,
) -> Result<()> {
    let (frames, height) = (dim(x, 0)?, dim(x, 1)?);
    let cost = x.numel() as i64 / (frames * height).max(1) * 2 * pieces::ELEMENT;
    if pieces::rows_of_a_piece(x.device(), frames * height, cost).is_none() {
        pieces::begin(x.device(), control)?;
        return video::moments(x, copy.map(Tensor::shallow_clone).as_mut(), sums);
    }
    for frame in 0..frames {
        pieces::each(x.device(), height, cost, control, |first, rows| {
            let part = |t: &Tensor| t.f_narrow(0, frame, 1)?.f_narrow(1, first, rows);
            let mut copy = copy.map(part).transpose()?;
            video::moments(&part(x)?, copy.as_mut(), sums.as_deref_mut())
        })?;
    }
    Ok(())
}

fn statistics_of_sums(
    sums: &[f64],
    rows: i64,
    groups: i64,
    epsilon: f64,
) -> Result<(Tensor, Tensor)> {
    let (values, squares) = sums.split_at(sums.len() / 2);
    let width = (values.len() / groups.max(1) as usize).max(1);
    let count = rows as f64 * width as f64;
    let (mut means, mut inverse_deviations) = (Vec::new(), Vec::new());
    for (values, squares) in values.chunks(width).zip(squares.chunks(width)) {
        let mean = values.iter().sum::<f64>() / count;
        let variance = (squares.iter().sum::<f64>() / count - mean * mean).max(0.0);
        means.push(mean as f32);
        inverse_deviations.push((variance + epsilon).sqrt().recip() as f32);
    }
    Ok((Tensor::f_from_slice(&means)?, Tensor::f_from_slice(&inverse_deviations)?))
}
