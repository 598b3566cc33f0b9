//! Embeddings in place of prompts: `prompt_embeds` and `negative_prompt_embeds` of diffusers.

use super::convert::{slice, within};
use super::error::{cvx_error, Failure, Result};
use super::generate_options::cvx_generate_options;
use super::handle::borrow_mut;
use super::limits::CVX_MAX_SEQUENCE_LENGTH;
use super::panic::fallible;
use crate::runtime::SharedTensor;
use tch::Tensor;

/// The widest embeddings of a token; the published models have 4096 numbers.
const MAX_DIM: usize = 1 << 16;

/// The prompt's embeddings instead of the prompt, such as cvx_pipeline_encode_prompt gives them:
/// sequence_length × dim numbers at data, token by token. dim must be cvx_pipeline_text_embed_dim.
/// The prompt must be "" then; sequence_length stands for max_sequence_length, which may be set only
/// to the same, and a text on the other side of guidance is encoded at this length. With embeddings
/// on both sides (or without guidance on this one) the run needs no text encoder: with
/// cvx_load_options_set_text_encoder_on_demand it is not read. NULL data (default) goes back to the
/// prompt; the other arguments do not matter then. The data is copied.
///
/// In float32 the run is that of the text, to the byte.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (a length outside [1, CVX_MAX_SEQUENCE_LENGTH], a dim
/// outside [1, 65536], a number that is not finite); what was set before stays then. A shape that does not fit
/// the model or the other embeddings is found by cvx_pipeline_generate. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_prompt_embeddings(
    options: *mut cvx_generate_options,
    data_or_null: *const f32,
    sequence_length: usize,
    dim: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, embeddings) = unsafe {
            (
                borrow_mut(options, "options")?,
                embeddings(data_or_null, sequence_length, dim, "prompt_embeddings")?,
            )
        };
        options.options.prompt_embeddings = embeddings;
        Ok(())
    })
}

/// The negative prompt's embeddings instead of the negative prompt, which must be NULL or "" then.
/// They have the shape of the prompt's embeddings where both are given, and no effect without
/// guidance. Otherwise as cvx_generate_options_set_prompt_embeddings.
///
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_negative_prompt_embeddings(
    options: *mut cvx_generate_options,
    data_or_null: *const f32,
    sequence_length: usize,
    dim: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, embeddings) = unsafe {
            (
                borrow_mut(options, "options")?,
                embeddings(data_or_null, sequence_length, dim, "negative_prompt_embeddings")?,
            )
        };
        options.options.negative_prompt_embeddings = embeddings;
        Ok(())
    })
}

/// A tensor of its own memory; none for NULL.
///
/// # Safety
/// `data` is NULL or holds `length × dim` numbers.
unsafe fn embeddings(
    data: *const f32,
    length: usize,
    dim: usize,
    name: &str,
) -> Result<Option<SharedTensor>> {
    if data.is_null() {
        return Ok(None);
    }
    let most = CVX_MAX_SEQUENCE_LENGTH as usize;
    within(&format!("sequence_length of {name}"), length, 1..=most)?;
    within(&format!("dim of {name}"), dim, 1..=MAX_DIM)?;
    // SAFETY: the caller's; both are bounded far below what their product could overflow.
    let data = unsafe { slice(data, length * dim, name)? };
    if let Some(at) = data.iter().position(|number| !number.is_finite()) {
        return Err(Failure::invalid(format!(
            "{name}[{}][{}]: expected a finite number, found {}",
            at / dim,
            at % dim,
            data.get(at).copied().unwrap_or(f32::NAN)
        )));
    }
    let tensor = Tensor::f_from_slice(data)?.f_view([length as i64, dim as i64])?;
    Ok(Some(tensor.into()))
}
