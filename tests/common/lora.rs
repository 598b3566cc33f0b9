//! The C functions of LoRA adapters.

use super::handles::{c_path, c_string, check, Pipeline, Result};
use cogvideox::capi::*;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::{null, null_mut};

impl Pipeline {
    pub fn load_lora(&self, path: &Path, name: Option<&str>) -> Result<()> {
        let (path, name) = (c_path(path), name.map(c_string));
        let name = name.as_ref().map_or(null(), |name| name.as_ptr());
        // SAFETY: the pipeline is live; strings live for the call.
        check(unsafe { cvx_pipeline_load_lora(self.0, path.as_ptr(), name) })
    }

    pub fn set_adapters(&self, names: &[&str], weights: Option<&[f64]>) -> Result<()> {
        let names: Vec<CString> = names.iter().map(|name| c_string(name)).collect();
        let pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let weights = weights.map_or(null(), |weights| weights.as_ptr());
        let count = names.len();
        // SAFETY: the pipeline is live; arrays live for the call and have `count` elements.
        check(unsafe { cvx_pipeline_set_adapters(self.0, pointers.as_ptr(), weights, count) })
    }

    pub fn enable_lora(&self, enabled: bool) -> Result<()> {
        // SAFETY: the pipeline is live; so below.
        check(unsafe { cvx_pipeline_enable_lora(self.0, enabled.into()) })
    }

    pub fn fuse_lora(&self, scale: f64) -> Result<()> {
        // SAFETY: as above.
        check(unsafe { cvx_pipeline_fuse_lora(self.0, scale) })
    }

    pub fn unfuse_lora(&self) -> Result<()> {
        // SAFETY: as above.
        check(unsafe { cvx_pipeline_unfuse_lora(self.0) })
    }

    pub fn unload_lora(&self) -> Result<()> {
        // SAFETY: as above.
        check(unsafe { cvx_pipeline_unload_lora(self.0) })
    }

    /// Names and weights of the loaded adapters.
    pub fn adapters(&self) -> Vec<(String, f64)> {
        // SAFETY: the pipeline is live, and so are its texts.
        unsafe {
            (0..cvx_pipeline_num_adapters(self.0))
                .map(|index| {
                    let name = CStr::from_ptr(cvx_pipeline_adapter_name(self.0, index));
                    (name.to_str().unwrap().into(), cvx_pipeline_adapter_weight(self.0, index))
                })
                .collect()
        }
    }

    /// Another handle over the same weights.
    pub fn another(&self) -> Result<Pipeline> {
        let mut clone = null_mut();
        // SAFETY: the pipeline is live, and so is the place for the call.
        check(unsafe { cvx_pipeline_clone(self.0, &mut clone) })?;
        Ok(Pipeline(clone))
    }
}
