//! From text to embeddings (`_get_t5_prompt_embeds`, pipeline_cogvideox.py:214).

use super::components::Components;
use crate::checkpoint::folder::Component;
use crate::runtime::process::WorkKind;
use crate::runtime::{Control, Progress, Stage};
use crate::Result;
use std::sync::Arc;
use tch::Tensor;

/// The text encoder's last hidden states of each text, each `(1, length, d_model)`, in the
/// pipeline's dtype and on its device. Padding tokens are not masked, as in the reference.
///
/// As there (pipeline_cogvideox.py:317), texts are encoded one by one: what a text becomes does not
/// depend on the others then, and may be kept.
pub(super) fn encode(
    components: &Components,
    texts: &[&str],
    length: usize,
    control: &Control,
) -> Result<Vec<Tensor>> {
    let _no_grad = tch::no_grad_guard();
    // Also for what is kept: that a prompt is cut off is said in every run.
    let ids = |text: &&str| components.tokenizer.encode(text, length, control);
    let ids: Vec<Vec<i64>> = texts.iter().map(ids).collect::<Result<_>>()?;
    let mut all: Vec<Option<Tensor>> = {
        let mut kept = components.embeddings.lock();
        ids.iter().map(|ids| kept.get(ids)).collect()
    };
    let mut new: Vec<&Vec<i64>> = Vec::new();
    for (ids, found) in ids.iter().zip(&all) {
        if found.is_none() && !new.contains(&ids) {
            new.push(ids);
        }
    }
    if new.is_empty() && !texts.is_empty() {
        // The stage is over as it begins.
        let layers = components.folder.text_encoder.num_layers as u64;
        let stage = Stage::Encode;
        control.report(Progress { stage, done: layers, total: layers, timestep: None })?;
    }
    if !new.is_empty() {
        let encoder = components.text_encoder(control)?;
        static ENCODING: WorkKind = WorkKind::new();
        ENCODING.begins();
        let placement = components.placements.transformer;
        for (part, new_ids) in new.iter().enumerate() {
            let row = Tensor::f_from_slice(new_ids)?.f_view([1, length as i64])?;
            let embeddings = encoder
                .forward(&row, &part_of(control, part, new.len()))?
                .f_to_device(placement.device)?
                .f_to_kind(placement.dtype.kind())?;
            components.embeddings.lock().put(new_ids, &embeddings);
            for (_, place) in ids.iter().zip(&mut all).filter(|(ids, _)| ids == new_ids) {
                *place = Some(embeddings.shallow_clone());
            }
        }
        drop(encoder);
        components.done_with(Component::TextEncoder);
    }
    Ok(all.into_iter().flatten().collect())
}

/// Progress of text `part` of `parts` as progress of the stage.
fn part_of(control: &Control, part: usize, parts: usize) -> Control {
    let (part, parts) = (part as u64, parts as u64);
    let progress = control.progress.clone().map(|report| {
        let whole = move |progress: &Progress| match progress.stage {
            Stage::Encode => report(&Progress {
                done: part * progress.total + progress.done,
                total: parts * progress.total,
                ..*progress
            }),
            _ => report(progress),
        };
        Arc::new(whole) as crate::runtime::control::ProgressFn
    });
    Control { progress, ..control.clone() }
}
