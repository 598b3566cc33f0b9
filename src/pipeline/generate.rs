//! One run, start to end.

use super::{GenerateOptions, Pipeline};
use crate::runtime::Control;
use crate::video::Video;
use crate::{Error, Result};

pub(super) fn generate(
    _pipeline: &Pipeline,
    _options: &GenerateOptions,
    _control: &Control,
) -> Result<Video> {
    Err(Error::Internal("generate".into()))
}
