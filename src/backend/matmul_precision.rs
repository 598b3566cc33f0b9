//! In which numbers the matrix products of float32 networks are made on the CPU.

use super::onednn;
use crate::{Error, Result};

/// What both factors of a product are rounded to. Sums are in float32, and so is everything between
/// products: attention, norms, what residual branches are added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MatmulPrecision {
    /// Nothing is rounded.
    #[default]
    Float32,
    /// bfloat16: half of the memory of a matrix, and on processors that multiply it as such half to
    /// two thirds of the time. A product is rounded to it, too.
    BFloat16,
}

impl MatmulPrecision {
    const ALL: [MatmulPrecision; 2] = [MatmulPrecision::Float32, MatmulPrecision::BFloat16];

    /// The name a host uses.
    pub fn name(self) -> &'static str {
        match self {
            MatmulPrecision::Float32 => "float32",
            MatmulPrecision::BFloat16 => "bfloat16",
        }
    }

    /// Errors: [`Error::InvalidArgument`] for another name.
    pub fn parse(text: &str) -> Result<MatmulPrecision> {
        let found = MatmulPrecision::ALL.into_iter().find(|precision| precision.name() == text);
        found.ok_or_else(|| {
            Error::InvalidArgument(format!(
                "matmul precision must be one of {:?}, found {text:?}",
                MatmulPrecision::ALL.map(MatmulPrecision::name)
            ))
        })
    }

    /// Errors: [`Error::InvalidArgument`] where this processor has no products of such numbers, which
    /// would be slower there than those of float32.
    pub fn check(self) -> Result<()> {
        match self {
            MatmulPrecision::Float32 => Ok(()),
            MatmulPrecision::BFloat16 => refuse(multiplies_bfloat16(), onednn::state()),
        }
    }
}

fn refuse(has_instructions: bool, onednn: onednn::State) -> Result<()> {
    let lacking = match (has_instructions, onednn) {
        (true, onednn::State::Usable) => return Ok(()),
        (false, _) => "found one without those instructions",
        (true, onednn::State::Forbidden) => {
            "found a process that may not execute memory that it has written, so that oneDNN can't \
             be used"
        }
        (true, onednn::State::Failed) => "found oneDNN failed for want of memory in this process",
    };
    Err(Error::InvalidArgument(format!(
        "matmul precision \"bfloat16\": expected a processor that multiplies bfloat16 (AVX512_BF16, which \
         those with AMX have, too), {lacking}; \"float32\" is computed everywhere"
    )))
}

#[cfg(target_arch = "x86_64")]
fn multiplies_bfloat16() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn multiplies_bfloat16() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_what_a_processor_lacks_is_told() {
        for precision in MatmulPrecision::ALL {
            assert_eq!(MatmulPrecision::parse(precision.name()), Ok(precision));
        }
        let message = |error: Result<()>| error.err().map(|error| error.to_string());
        let other = MatmulPrecision::parse("bf16").map(drop);
        assert!(
            message(other).is_some_and(|text| text.contains("float32") && text.contains("bf16"))
        );
        assert_eq!(MatmulPrecision::Float32.check(), Ok(()));
        assert_eq!(refuse(true, onednn::State::Usable), Ok(()));
        for (instructions, state, said) in [
            (false, onednn::State::Usable, "AVX512_BF16"),
            (true, onednn::State::Forbidden, "execute"),
            (true, onednn::State::Failed, "memory"),
        ] {
            let refused = message(refuse(instructions, state));
            assert!(refused.as_ref().is_some_and(|text| text.contains(said)), "{refused:?}");
        }
    }
}
