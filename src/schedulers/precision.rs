//! The arithmetic of the tables, the same on every machine.
//!
//! libtorch's float32 and its logarithms differ in the last bit between CPUs, with the width of
//! their vectors, and so do those of the C library. Here every operation is one of IEEE 754 or
//! of the `libm` crate, whose functions are made of those.

/// The floating-point type that diffusers keeps a schedule in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// float32.
    Single,
    /// float64.
    Double,
}

impl Precision {
    /// `value`, the result of one operation in float64, as the result of that operation in this
    /// type. For `+`, `-`, `*`, `/` and the square root of float32 operands this is exact:
    /// float64 has more than twice float32's digits and two, so rounding twice is rounding once
    /// (Figueroa, "When is double rounding innocuous?", 1995).
    pub fn round(self, value: f64) -> f64 {
        match self {
            Precision::Single => f64::from(value as f32),
            Precision::Double => value,
        }
    }

    /// `1 - value`.
    pub fn one_minus(self, value: f64) -> f64 {
        self.round(1.0 - value)
    }

    /// `√value`.
    pub fn sqrt(self, value: f64) -> f64 {
        self.round(value.sqrt())
    }

    /// `count` numbers from `start` to `end`, both included, as libtorch's scalar code counts
    /// them: from either end to the middle (aten/src/ATen/native/cpu/RangeFactoriesKernel.cpp).
    pub fn linspace(self, start: f64, end: f64, count: usize) -> Vec<f64> {
        let (start, end) = (self.round(start), self.round(end));
        if count == 1 {
            return vec![start];
        }
        let last = count.saturating_sub(1);
        let step = self.round(self.round(end - start) / last as f64);
        let times_step = |i: usize| self.round(step * i as f64);
        let value = |i| match i < count / 2 {
            true => self.round(start + times_step(i)),
            false => self.round(end - times_step(last - i)),
        };
        (0..count).map(value).collect()
    }
}
