//! A clip as numbers, for those who measure it.

/// Frames of one size; R, G, B in [0, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    pub frames: usize,
    pub height: usize,
    pub width: usize,
    /// Frame after frame, row after row.
    pub pixels: Vec<[f64; 3]>,
}

impl Clip {
    /// The frames one by one.
    pub fn pictures(&self) -> impl Iterator<Item = &[[f64; 3]]> {
        self.pixels.chunks_exact(self.height * self.width)
    }
}

/// The middle one of some numbers, or the mean of the two in the middle; NaN of none.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match (numbers.get(middle), numbers.len() % 2) {
        (None, _) => f64::NAN,
        (Some(&number), 1) => number,
        // Equal ones as they are: infinities have no mean.
        (Some(&number), _) if numbers[middle - 1] == number => number,
        (Some(&number), _) => (numbers[middle - 1] + number) / 2.0,
    }
}

/// The median of each channel.
pub fn median_color<'a>(pixels: impl IntoIterator<Item = &'a [f64; 3]>) -> [f64; 3] {
    let pixels: Vec<&[f64; 3]> = pixels.into_iter().collect();
    [0, 1, 2].map(|channel| median(pixels.iter().map(|pixel| pixel[channel])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([f64::INFINITY, f64::INFINITY]), f64::INFINITY);
        assert!(median([]).is_nan());
        assert_eq!(
            median_color(&[[0.0, 5.0, 1.0], [1.0, 4.0, 1.0], [2.0, 9.0, 0.0]]),
            [1.0, 5.0, 1.0]
        );
    }
}
