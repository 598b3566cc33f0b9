//! Comparing with goldens, and saying by how much something is off.

use super::goldens::Array;

/// Tokenizer aside, nothing is expected to be equal to the bit: libtorch orders sums by
/// machine. These are the tolerances that the library promises.
pub const RELATIVE: f64 = 1e-5;
pub const LATENTS: f64 = 1e-3;
pub const RGB8: f64 = 1.0;

/// How far two arrays are apart.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// Largest absolute difference.
    pub absolute: f64,
    /// Largest absolute difference over the largest expected magnitude.
    pub relative: f64,
    /// Where the largest difference is, what was found there and what was expected.
    pub at: usize,
    pub found: f64,
    pub expected: f64,
}

/// The difference of `found` from `expected`; an error if the shapes differ or a number is not
/// finite.
pub fn difference<T: Copy + Into<f64>, U: Copy + Into<f64>>(
    found: &Array<T>,
    expected: &Array<U>,
) -> Result<Difference, String> {
    if found.shape != expected.shape || found.data.len() != expected.data.len() {
        return Err(format!("shape {:?}, expected {:?}", found.shape, expected.shape));
    }
    let mut largest = Difference { absolute: 0.0, relative: 0.0, at: 0, found: 0.0, expected: 0.0 };
    let mut scale = 0.0f64;
    for (at, (&found, &expected)) in found.data.iter().zip(&expected.data).enumerate() {
        let (found, expected): (f64, f64) = (found.into(), expected.into());
        if !found.is_finite() {
            return Err(format!("element {at} is {found}, expected {expected}"));
        }
        let absolute = (found - expected).abs();
        scale = scale.max(expected.abs());
        if absolute > largest.absolute {
            largest = Difference { absolute, relative: 0.0, at, found, expected };
        }
    }
    largest.relative = if scale > 0.0 { largest.absolute / scale } else { largest.absolute };
    Ok(largest)
}

/// What went wrong in a loop over many cases: all of it is told at the end.
#[derive(Default)]
pub struct Report {
    failures: Vec<String>,
    checked: usize,
    /// The largest difference seen, and where.
    worst: (f64, String),
}

impl Report {
    fn check<T: Copy + Into<f64>, U: Copy + Into<f64>>(
        &mut self,
        what: &str,
        found: &Array<T>,
        expected: &Array<U>,
        tolerance: f64,
        measure: impl Fn(&Difference) -> f64,
    ) {
        match difference(found, expected) {
            Err(message) => self.fail(what, message),
            Ok(d) => {
                self.checked += 1;
                let measured = measure(&d);
                if measured > self.worst.0 {
                    self.worst = (measured, what.to_string());
                }
                if measured > tolerance {
                    self.failures.push(format!(
                        "{what}: off by {measured:.3e}, allowed {tolerance:.0e} (element {} is \
                         {}, expected {})",
                        d.at, d.found, d.expected
                    ));
                }
            }
        }
    }

    /// Checks the largest difference over the largest expected magnitude.
    pub fn relative<T: Copy + Into<f64>, U: Copy + Into<f64>>(
        &mut self,
        what: &str,
        found: &Array<T>,
        expected: &Array<U>,
        tolerance: f64,
    ) {
        self.check(what, found, expected, tolerance, |d| d.relative);
    }

    /// Checks the largest absolute difference.
    pub fn absolute<T: Copy + Into<f64>, U: Copy + Into<f64>>(
        &mut self,
        what: &str,
        found: &Array<T>,
        expected: &Array<U>,
        tolerance: f64,
    ) {
        self.check(what, found, expected, tolerance, |d| d.absolute);
    }

    pub fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: &T, expected: &T) {
        self.checked += 1;
        if found != expected {
            self.failures.push(format!("{what}: {found:?}, expected {expected:?}"));
        }
    }

    pub fn fail(&mut self, what: &str, message: impl std::fmt::Display) {
        self.checked += 1;
        self.failures.push(format!("{what}: {message}"));
    }

    /// Fails the test with everything that was off; otherwise says how close it was.
    #[allow(clippy::print_stdout, reason = "what `cargo test -- --nocapture` is asked for")]
    pub fn finish(self, what: &str) {
        assert!(self.checked > 0, "{what}: nothing was checked");
        assert!(
            self.failures.is_empty(),
            "{what}: {} of {} checks failed:\n  {}",
            self.failures.len(),
            self.checked,
            self.failures.join("\n  ")
        );
        println!("{what}: {} checks, worst {:.1e} ({})", self.checked, self.worst.0, self.worst.1);
    }
}
