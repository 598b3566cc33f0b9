//! The timestep embedding and that of the offset (diffusers 0.42.1 models/embeddings.py:27 and :1027).

use crate::checkpoint::config::TransformerConfig;
use crate::checkpoint::Weights;
use crate::models::layers::{Linear, LinearChange};
use crate::runtime::device::upload;
use crate::Result;
use tch::{Device, Kind, Tensor};

/// The offset that image-to-video runs of the 1.5 family are given (diffusers 0.42.1
/// pipelines/cogvideo/pipeline_cogvideox_image2video.py:829).
const OFFSET: f64 = 2.0;

/// The embedding of the timestep and, of a model that has one, of the offset.
pub(super) struct TimeEmbedding {
    time_embedding: Embedding,
    ofs_embedding: Option<Embedding>,
}

impl TimeEmbedding {
    /// `weights` is the root of the transformer.
    pub fn load(config: &TransformerConfig, weights: &Weights) -> Result<TimeEmbedding> {
        let (width, time) = (config.width(), config.time_embed_dim);
        let load = |name: &str, width| Embedding::load(config, &weights.at(name), width, time);
        Ok(TimeEmbedding {
            time_embedding: load("time_embedding", width)?,
            ofs_embedding: config.ofs_embed_dim.map(|n| load("ofs_embedding", n)).transpose()?,
        })
    }

    /// The same with other linear layers.
    pub fn with_linears(&self, change: LinearChange) -> Result<TimeEmbedding> {
        let ofs = self.ofs_embedding.as_ref();
        Ok(TimeEmbedding {
            time_embedding: self.time_embedding.with_linears(change)?,
            ofs_embedding: ofs.map(|embedding| embedding.with_linears(change)).transpose()?,
        })
    }

    /// `silu(embedding)`, `(1, time_embed_dim)`: every consumer of the embedding applies this
    /// activation first, and the timestep is the same for the whole batch.
    pub fn forward(&self, timestep: i64) -> Result<Tensor> {
        Ok(self.embedding(timestep)?.f_silu_()?)
    }

    /// The embedding itself, `(1, time_embed_dim)`.
    pub fn embedding(&self, timestep: i64) -> Result<Tensor> {
        let embedding = self.time_embedding.forward(timestep as f64)?;
        match &self.ofs_embedding {
            Some(offset) => Ok(embedding.f_add(&offset.forward(OFFSET)?)?),
            None => Ok(embedding),
        }
    }
}

/// Sinusoidal features of a number, then two linear layers.
struct Embedding {
    width: i64,
    flip_sin_to_cos: bool,
    freq_shift: f64,
    linear_1: Linear,
    linear_2: Linear,
    kind: Kind,
    device: Device,
}

impl Embedding {
    /// `width` features to embeddings `time` wide.
    fn load(
        config: &TransformerConfig,
        weights: &Weights,
        width: i64,
        time: i64,
    ) -> Result<Embedding> {
        Ok(Embedding {
            width,
            flip_sin_to_cos: config.flip_sin_to_cos,
            freq_shift: config.freq_shift as f64,
            linear_1: Linear::load_for_a_row(&weights.at("linear_1"), width, time)?,
            linear_2: Linear::load_for_a_row(&weights.at("linear_2"), time, time)?,
            kind: weights.placement().dtype.kind(),
            device: weights.placement().device,
        })
    }

    fn with_linears(&self, change: LinearChange) -> Result<Embedding> {
        Ok(Embedding {
            width: self.width,
            flip_sin_to_cos: self.flip_sin_to_cos,
            freq_shift: self.freq_shift,
            linear_1: change(&self.linear_1)?,
            linear_2: change(&self.linear_2)?,
            kind: self.kind,
            device: self.device,
        })
    }

    /// The embedding of `number`, `(1, time)`.
    fn forward(&self, number: f64) -> Result<Tensor> {
        let features = sinusoid(number, self.width, self.flip_sin_to_cos, self.freq_shift)?;
        // The features are computed in float32 whatever the model's dtype
        // (cogvideox_transformer_3d.py:416).
        let features = upload(&features, self.device)?.f_to_kind(self.kind)?;
        let hidden = self.linear_1.forward(&features)?.f_silu_()?;
        self.linear_2.forward(&hidden)
    }
}

/// `get_timestep_embedding` of one number: `(1, width)` float32 on the CPU.
fn sinusoid(timestep: f64, width: i64, flip_sin_to_cos: bool, freq_shift: f64) -> Result<Tensor> {
    let half = width / 2;
    let angles = Tensor::f_arange(half, (Kind::Float, Device::Cpu))?
        .f_mul_scalar_(-(10000f64.ln()))?
        .f_div_scalar_(half as f64 - freq_shift)?
        .f_exp_()?
        .f_mul_scalar_(timestep)?;
    let (sin, cos) = (angles.f_sin()?, angles.f_cos()?);
    let mut parts = if flip_sin_to_cos { vec![cos, sin] } else { vec![sin, cos] };
    if width % 2 == 1 {
        parts.push(Tensor::f_zeros([1], (Kind::Float, Device::Cpu))?);
    }
    Ok(Tensor::f_cat(&parts, 0)?.f_unsqueeze(0)?)
}

#[cfg(test)]
mod tests {
    use super::sinusoid;

    #[test]
    fn sinusoid_orders_and_pads_as_the_reference() {
        // get_timestep_embedding(torch.tensor([500]), 5, flip_sin_to_cos, freq_shift)
        let values = |t: &tch::Tensor| Vec::<f32>::try_from(t.flatten(0, -1)).unwrap();
        let flipped = values(&sinusoid(500.0, 5, true, 0.0).unwrap());
        let plain = values(&sinusoid(500.0, 5, false, 1.0).unwrap());
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        let (c, s) = (500f32.cos(), 500f32.sin());
        assert!(near(&flipped, &[c, 5f32.cos(), s, 5f32.sin(), 0.0]), "{flipped:?}");
        assert!(near(&plain, &[s, 0.05f32.sin(), c, 0.05f32.cos(), 0.0]), "{plain:?}");
    }
}
