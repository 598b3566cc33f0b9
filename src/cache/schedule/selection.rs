//! Which attention modules a technique acts on.
//!
//! An identifier is a regular expression that is searched for anywhere in a module's checkpoint
//! name (`transformer_blocks.0.attn1`), as Python's `re.search` does
//! (diffusers 0.42.1 hooks/pyramid_attention_broadcast.py:245, hooks/faster_cache.py:594).
//!
//! CogVideoX has one attention module per layer: joint 3-D self-attention over text and video
//! tokens, which the identifiers of spatial attention match. A layer that matches the spatial
//! and the temporal identifiers is spatial, as there. Cross-attention layers don't exist in
//! this model, so settings for them select nothing.

use crate::{Error, Result};
use fancy_regex::Regex;

/// A module is asked for by `identifiers` if its group's skip range is set.
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct AttentionGroup<'a> {
    /// The field that holds the identifiers.
    pub field: &'static str,
    pub identifiers: &'a [String],
    /// The skip range is set: layers that match are cached.
    pub enabled: bool,
    /// The identifiers are those of diffusers, which name modules of other models too. The
    /// ones that a host gives must match something.
    pub default_identifiers: bool,
}

/// For each layer the index of the first enabled group that matches its name.
pub(in crate::cache) fn select(
    groups: &[AttentionGroup<'_>],
    layers: &[String],
) -> Result<Vec<Option<usize>>> {
    let mut selected = vec![None; layers.len()];
    for (index, group) in groups.iter().enumerate() {
        if !group.enabled {
            continue;
        }
        let patterns = group
            .identifiers
            .iter()
            .map(|identifier| compile(group.field, identifier))
            .collect::<Result<Vec<_>>>()?;
        let mut matched = false;
        for (name, slot) in layers.iter().zip(&mut selected) {
            if matches_any(group.field, &patterns, name)? {
                matched = true;
                slot.get_or_insert(index);
            }
        }
        // The spatial default always names CogVideoX' blocks, so not matching is news too.
        if !matched && (index == 0 || !group.default_identifiers) {
            return Err(no_match(group, layers));
        }
    }
    Ok(selected)
}

/// Checks identifiers when they are set, so that a bad expression is named at once.
pub(in crate::cache) fn check_identifiers(field: &str, identifiers: &[String]) -> Result<()> {
    identifiers.iter().try_for_each(|identifier| compile(field, identifier).map(drop))
}

fn compile(field: &str, identifier: &str) -> Result<Regex> {
    Regex::new(identifier).map_err(|error| {
        Error::InvalidArgument(format!(
            "{field}: expected a regular expression, found {identifier:?}: {error}"
        ))
    })
}

fn matches_any(field: &str, patterns: &[Regex], name: &str) -> Result<bool> {
    for pattern in patterns {
        // A pattern that backtracks without end is stopped by the engine's limit.
        let found = pattern.is_match(name).map_err(|error| {
            Error::InvalidArgument(format!(
                "{field}: {:?} can't be matched against {name:?}: {error}",
                pattern.as_str()
            ))
        })?;
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn no_match(group: &AttentionGroup<'_>, layers: &[String]) -> Error {
    let sample: Vec<&str> = match layers {
        [] => vec![],
        [only] => vec![only],
        [first, .., last] => vec![first, last],
    };
    Error::InvalidArgument(format!(
        "{}: {:?} match none of the {} attention layers, which are called {}",
        group.field,
        group.identifiers,
        layers.len(),
        sample.join(" … ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("transformer_blocks.{i}.attn1")).collect()
    }

    fn spatial(identifiers: &[String]) -> AttentionGroup<'_> {
        AttentionGroup {
            field: "spatial_attention_block_identifiers",
            identifiers,
            enabled: true,
            default_identifiers: false,
        }
    }

    #[test]
    fn identifiers_are_searched_for_anywhere_in_the_name() {
        let cases: [(&str, &[usize]); 5] = [
            ("blocks", &[0, 1, 2, 3]),
            ("^blocks", &[]),
            (r"blocks\.[02]\.", &[0, 2]),
            (r"^transformer_blocks.*attn", &[0, 1, 2, 3]),
            (r"blocks\.(?!1\b)\d+", &[0, 2, 3]),
        ];
        for (identifier, expected) in cases {
            let identifiers = [identifier.to_string()];
            let found = select(&[spatial(&identifiers)], &layers(4));
            if expected.is_empty() {
                let message = found.expect_err("matches nothing").to_string();
                assert!(message.contains(identifier), "{message}");
                assert!(message.contains("transformer_blocks.0.attn1"), "{message}");
                continue;
            }
            let found: Vec<usize> = found
                .expect("matches")
                .iter()
                .enumerate()
                .filter_map(|(layer, group)| group.map(|_| layer))
                .collect();
            assert_eq!(found, expected, "{identifier}");
        }
    }

    #[test]
    fn spatial_goes_before_temporal() {
        let first = [r"\.1\.".to_string()];
        let all = ["transformer_blocks".to_string()];
        let temporal = AttentionGroup {
            field: "temporal_attention_block_identifiers",
            identifiers: &all,
            enabled: true,
            default_identifiers: false,
        };
        let found = select(&[spatial(&first), temporal], &layers(3)).expect("both match");
        assert_eq!(found, [Some(1), Some(0), Some(1)]);
    }

    #[test]
    fn a_bad_expression_is_named_with_its_field() {
        let message = check_identifiers("spatial_attention_block_identifiers", &["a(".to_string()])
            .expect_err("not a regular expression")
            .to_string();
        assert!(message.starts_with("spatial_attention_block_identifiers"), "{message}");
        assert!(message.contains("\"a(\""), "{message}");
    }

    #[test]
    fn endless_backtracking_is_an_error_and_not_a_hang() {
        let identifiers = [r"(?=(x+x+)+y)\1z".to_string()];
        let name = vec!["x".repeat(60)];
        assert!(matches!(select(&[spatial(&identifiers)], &name), Err(Error::InvalidArgument(_))));
    }
}
