//! In which numbers the matrix products of float32 networks are made on the CPU.

use super::cpu::int8::Int8Linear;
use super::onednn;
use crate::{Error, Result};

/// Bytes that trying a small product may take.
const HEADROOM: usize = 1 << 20;

/// What both factors of a product are rounded to. Sums are not, and neither is what is between
/// products: attention, norms, what residual branches are added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum MatmulPrecision {
    /// Nothing is rounded.
    #[default]
    Float32,
    /// bfloat16: half of the memory of a matrix, and on processors that multiply it as such half to
    /// two thirds of the time. A product is rounded to it, too.
    BFloat16,
    /// 255 numbers about zero, as far apart as the largest of a row asks for: a quarter of the memory,
    /// and on processors that multiply bytes a quarter to a third of the time. A row is an output of
    /// the matrix, or a token.
    Int8,
}

impl MatmulPrecision {
    const ALL: [MatmulPrecision; 3] =
        [MatmulPrecision::Float32, MatmulPrecision::BFloat16, MatmulPrecision::Int8];

    /// The name a host uses.
    pub fn name(self) -> &'static str {
        match self {
            MatmulPrecision::Float32 => "float32",
            MatmulPrecision::BFloat16 => "bfloat16",
            MatmulPrecision::Int8 => "int8",
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
    /// would be slower there than those of float32, or wrong; [`Error::OutOfMemory`].
    pub fn check(self) -> Result<()> {
        let is_multiplied = match self.has_instructions() {
            // oneDNN may be held to others than the processor has.
            true if self == MatmulPrecision::Int8 => {
                onednn::call(HEADROOM, Int8Linear::sums_are_whole)?.unwrap_or(true)
            }
            other => other,
        };
        self.refuse(is_multiplied, onednn::state())
    }

    /// The instructions that products are made with, where they are not those that libtorch has for
    /// every processor.
    fn instructions(self) -> Option<&'static str> {
        match self {
            MatmulPrecision::Float32 => None,
            MatmulPrecision::BFloat16 => Some("AVX512_BF16"),
            // Before it, a sum of two products of bytes might not fit into the 16 bits that it was
            // given.
            MatmulPrecision::Int8 => Some("AVX512_VNNI"),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn has_instructions(self) -> bool {
        match self {
            MatmulPrecision::Float32 => true,
            MatmulPrecision::BFloat16 => is_x86_feature_detected!("avx512bf16"),
            // oneDNN's kernels want the others beside it.
            MatmulPrecision::Int8 => {
                is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn has_instructions(self) -> bool {
        self == MatmulPrecision::Float32
    }

    fn refuse(self, is_multiplied: bool, onednn: onednn::State) -> Result<()> {
        let Some(instructions) = self.instructions() else { return Ok(()) };
        let lacking = match (is_multiplied, onednn) {
            (true, onednn::State::Usable) => return Ok(()),
            (false, _) => "found one without those instructions, or oneDNN held to others",
            (true, onednn::State::Forbidden) => {
                "found a process that may not execute memory that it has written, so that oneDNN \
                 can't be used"
            }
            (true, onednn::State::Failed) => {
                "found oneDNN failed for want of memory in this process"
            }
        };
        let name = self.name();
        Err(Error::InvalidArgument(format!(
            "matmul precision {name:?}: expected a processor that multiplies {name} ({instructions}, \
             which those with AMX have, too), {lacking}; \"float32\" is computed everywhere"
        )))
    }
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
        for (precision, lacking) in
            [(MatmulPrecision::BFloat16, "AVX512_BF16"), (MatmulPrecision::Int8, "AVX512_VNNI")]
        {
            assert_eq!(precision.refuse(true, onednn::State::Usable), Ok(()));
            for (is_multiplied, state, said) in [
                (false, onednn::State::Usable, lacking),
                (true, onednn::State::Forbidden, "execute"),
                (true, onednn::State::Failed, "memory"),
            ] {
                let refused = message(precision.refuse(is_multiplied, state));
                let told = |text: &String| text.contains(said) && text.contains(precision.name());
                assert!(refused.as_ref().is_some_and(told), "{refused:?}");
            }
        }
    }
}
