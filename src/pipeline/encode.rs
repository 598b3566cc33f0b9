//! From text to embeddings (`_get_t5_prompt_embeds`, pipeline_cogvideox.py:214).

use super::components::Components;
use super::load::Residency;
use crate::runtime::process::WorkKind;
use crate::runtime::Control;
use crate::Result;
use tch::Tensor;

/// The text encoder's last hidden states `(texts, length, d_model)`, in the pipeline's dtype
/// and on its device. Padding tokens are not masked, as in the reference.
pub(super) fn encode(
    components: &Components,
    texts: &[&str],
    length: usize,
    control: &Control,
) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let key = (texts.iter().map(|text| text.to_string()).collect::<Vec<_>>(), length);
    if let Some((kept, embeddings)) = components.last_embeddings.lock().as_ref() {
        if *kept == key {
            return Ok(embeddings.shallow_clone());
        }
    }

    let mut ids = Vec::with_capacity(texts.len() * length);
    for text in texts {
        ids.extend(components.tokenizer.encode(text, length, control)?);
    }
    let ids = Tensor::f_from_slice(&ids)?.f_view([texts.len() as i64, length as i64])?;
    let encoder = components.text_encoder(control)?;
    static ENCODING: WorkKind = WorkKind::new();
    ENCODING.begins();
    let placement = components.placements.transformer;
    let embeddings = encoder
        .forward(&ids, control)?
        .f_to_device(placement.device)?
        .f_to_kind(placement.dtype.kind())?;

    if components.residency == Residency::TextEncoderOnDemand {
        drop(encoder);
        components.release_text_encoder();
        *components.last_embeddings.lock() = Some((key, embeddings.shallow_clone()));
    }
    Ok(embeddings)
}
