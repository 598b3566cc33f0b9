//! Cache configs as JSON: fields by name, and whole configs from and to a text.

use super::cache_config::cvx_cache_config;
use super::convert::{text, Out};
use super::error::{cvx_error, Failure};
use super::handle::borrow_mut;
use super::panic::fallible;
use crate::cache::CacheConfig;
use std::ffi::{c_char, CString};

/// Sets any field of the config's technique by its name, the same as in the setters and in
/// cvx_cache_stats_json's "settings", to a value written as JSON: 2, 0.3, true, "BCFHW",
/// [100, 800] for a timestep range, ["^transformer_blocks"] for identifiers; null unsets a field
/// that is unset by default. Callbacks have setters of their own. "cache_dtype", "cache_location" and
/// "max_cache_bytes" are fields of every technique.
///
/// Errors: INVALID_ARGUMENT for a field that the technique does not have, text that is not JSON,
/// or a value that the field can't take; nothing is changed then. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_field(
    config: *mut cvx_cache_config,
    field: *const c_char,
    value_json: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (config, field, value) = unsafe {
            (borrow_mut(config, "config")?, text(field, "field")?, text(value_json, "value_json")?)
        };
        Ok(config.config.set_json(field, value)?)
    })
}

/// A config from JSON, as cvx_cache_config_to_json writes it: one object with "technique" (as for
/// cvx_cache_config_new), optionally "preset", the technique's fields, "max_cache_bytes",
/// "cache_dtype" and "cache_location". Fields that are left out have the preset's values. On success *out_config is a
/// new config, owned by the caller, freed with cvx_cache_config_free.
///
/// Errors: INVALID_ARGUMENT, naming the field at fault, what it expects and what was found.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_from_json(
    json: *const c_char,
    out_config: *mut *mut cvx_cache_config,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (json, out) = unsafe { (text(json, "json")?, Out::new(out_config, "out_config")?) };
        out.hand_over(CacheConfig::from_json(json)?.into());
        Ok(())
    })
}

/// The whole config as JSON, technique and every field, for a file that a host keeps or ships
/// beside its model; cvx_cache_config_from_json reads it. On success *out_json is a text that
/// belongs to the config, until this is called again for it or the config is freed.
///
/// Errors: INVALID_ARGUMENT if a callback is set, which a text can't hold. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_to_json(
    config: *mut cvx_cache_config,
    out_json: *mut *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (config, out) =
            unsafe { (borrow_mut(config, "config")?, Out::new(out_json, "out_json")?) };
        let json = CString::new(config.config.to_json()?)
            .map_err(|_| Failure::invalid("config: expected no NUL in its texts, found one"))?;
        // The text's address stays when the CString moves.
        out.write(json.as_ptr());
        config.json = json;
        Ok(())
    })
}
