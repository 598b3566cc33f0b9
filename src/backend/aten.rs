//! Composed of libtorch's operators: for every device and dtype.

use crate::{Error, Result};
use tch::Tensor;

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
