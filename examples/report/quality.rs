//! How near a clip is to another of the same size.

use crate::clip::Clip;

/// Peak signal-to-noise ratio in dB over all frames and channels, for a peak of 1; infinite for
/// clips that are equal.
pub fn psnr(a: &Clip, b: &Clip) -> f64 {
    assert_eq!(size(a), size(b), "clips of one size");
    let squares = a.pixels.iter().zip(&b.pixels);
    let sum: f64 = squares.map(|(a, b)| (0..3).map(|c| (a[c] - b[c]).powi(2)).sum::<f64>()).sum();
    match sum {
        0.0 => f64::INFINITY,
        _ => -10.0 * (sum / (a.pixels.len() * 3) as f64).log10(),
    }
}

/// The window's side in pixels, and its deviation.
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
/// The constants of the paper, for numbers up to 1.
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004, equation 13) of the brightness
/// 0.299 R + 0.587 G + 0.114 B, averaged over every place where the window of 11×11 pixels, a
/// Gaussian of deviation 1.5, lies within the picture, and over the frames. 1 for clips that are
/// equal; below 1 otherwise. Pictures must be at least as big as the window.
pub fn ssim(a: &Clip, b: &Clip) -> f64 {
    assert_eq!(size(a), size(b), "clips of one size");
    assert!(a.width.min(a.height) >= WINDOW, "pictures of at least {WINDOW}x{WINDOW}");
    let pictures = a.pictures().zip(b.pictures());
    pictures
        .map(|(a_picture, b_picture)| {
            ssim_of_pictures(&brightness(a_picture), &brightness(b_picture), a.width)
        })
        .sum::<f64>()
        / a.frames as f64
}

fn size(clip: &Clip) -> [usize; 3] {
    [clip.frames, clip.height, clip.width]
}

fn brightness(picture: &[[f64; 3]]) -> Vec<f64> {
    picture.iter().map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b).collect()
}

fn ssim_of_pictures(a: &[f64], b: &[f64], width: usize) -> f64 {
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).collect::<Vec<_>>();
    let window = window();
    let smooth = |values: &[f64]| smoothed(values, width, &window);
    let (mean_a, mean_b) = (smooth(a), smooth(b));
    let (aa, bb, ab) = (smooth(&product(a, a)), smooth(&product(b, b)), smooth(&product(a, b)));
    let mut sum = 0.0;
    for place in 0..mean_a.len() {
        let (ma, mb) = (mean_a[place], mean_b[place]);
        let (variance_a, variance_b) = (aa[place] - ma * ma, bb[place] - mb * mb);
        let covariance = ab[place] - ma * mb;
        sum += (2.0 * ma * mb + C1) * (2.0 * covariance + C2)
            / ((ma * ma + mb * mb + C1) * (variance_a + variance_b + C2));
    }
    sum / mean_a.len() as f64
}

/// One dimension of the window; the whole is its product with itself.
fn window() -> [f64; WINDOW] {
    let mut weights = std::array::from_fn(|i| {
        let offset = i as f64 - (WINDOW / 2) as f64;
        (-offset * offset / (2.0 * SIGMA * SIGMA)).exp()
    });
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    weights
}

/// The weighted mean under the window at each place where it lies within the picture.
fn smoothed(values: &[f64], width: usize, window: &[f64; WINDOW]) -> Vec<f64> {
    let narrow = width + 1 - WINDOW;
    let weighted = |value: &dyn Fn(usize) -> f64| {
        window.iter().enumerate().map(|(i, weight)| weight * value(i)).sum::<f64>()
    };
    let rows: Vec<f64> = values
        .chunks_exact(width)
        .flat_map(|row| (0..narrow).map(move |x| (row, x)))
        .map(|(row, x)| weighted(&|i| row[x + i]))
        .collect();
    (0..rows.len() - (WINDOW - 1) * narrow)
        .map(|place| weighted(&|i| rows[place + i * narrow]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goldens;

    fn gray(value: f64) -> Clip {
        Clip { frames: 2, height: 16, width: 12, pixels: vec![[value; 3]; 2 * 16 * 12] }
    }

    #[test]
    fn what_can_be_told_by_hand() {
        assert_eq!(psnr(&gray(0.5), &gray(0.5)), f64::INFINITY);
        assert_eq!(ssim(&gray(0.5), &gray(0.5)), 1.0);
        // An error of a tenth everywhere: a mean square of a hundredth.
        assert!((psnr(&gray(0.5), &gray(0.6)) - 20.0).abs() < 1e-9);
        // Without variances only the brightness's part is left.
        let brightness = (2.0 * 0.3 + C1) / (0.25 + 0.36 + C1);
        assert!((ssim(&gray(0.5), &gray(0.6)) - brightness).abs() < 1e-9);
    }

    /// Of scikit-image, which was given the same pictures.
    #[test]
    fn both_agree_with_scikit_image() {
        let expected = goldens::json("quality.json");
        let pairs = expected["pairs"].as_array().unwrap();
        assert!(pairs.len() >= 4);
        for pair in pairs {
            let [a, b] = ["a", "b"].map(|side| goldens::clip(pair[side].as_str().unwrap()));
            for (found, name) in [(psnr(&a, &b), "psnr"), (ssim(&a, &b), "ssim")] {
                let golden = pair[name].as_f64().unwrap();
                assert!((found - golden).abs() < 1e-7, "{pair}: {name} {found}");
            }
        }
    }
}
