//! The latents a run starts from (`prepare_latents`, pipeline_cogvideox.py:337).

use super::request::Request;
use crate::runtime::device::upload;
use crate::runtime::rng::Generator;
use crate::runtime::Placement;
use crate::Result;
use tch::Tensor;

/// The given latents, or noise of the whole batch drawn at once from the run's generator, in
/// the pipeline's dtype. Both CogVideoX schedulers have `init_noise_sigma` 1, so neither is
/// scaled.
pub(super) fn prepare(
    request: &Request,
    placement: Placement,
    generator: &mut Generator,
) -> Result<Tensor> {
    let kind = placement.dtype.kind();
    match &request.options.latents {
        Some(latents) => Ok(upload(latents, placement.device)?.f_to_kind(kind)?.f_contiguous()?),
        None => {
            let dims = request.size.latent_dims(request.options.num_videos);
            generator.randn(&dims, kind, placement.device)
        }
    }
}
