//! T5 v1.1 encoder.

use crate::checkpoint::config::T5Config;
use crate::checkpoint::Weights;
use crate::runtime::Control;
use crate::{Error, Result};
use tch::Tensor;

pub struct T5Encoder {}

impl T5Encoder {
    pub fn load(_config: &T5Config, _weights: &Weights) -> Result<T5Encoder> {
        Err(Error::Internal("t5".into()))
    }

    /// Token ids `(batch, length)` int64 on the host to the last hidden state
    /// `(batch, length, d_model)`. No attention mask, as CogVideoXPipeline calls it.
    pub fn forward(&self, _ids: &Tensor, _control: &Control) -> Result<Tensor> {
        Err(Error::Internal("t5".into()))
    }
}
