//! RGB to planar YUV 4:2:0 in BT.709, limited range (ITU-R BT.709-6, section 3): what players
//! assume of H.264 without being told, and what the files say of themselves.

use super::Clip;

const RED: f32 = 0.2126;
const GREEN: f32 = 0.7152;
const BLUE: f32 = 0.0722;

/// One picture in Y, U and V planes; width and height are even.
pub struct Yuv420 {
    pub width: usize,
    pub height: usize,
    pub y: Vec<u8>,
    pub u: Vec<u8>,
    pub v: Vec<u8>,
}

impl Yuv420 {
    /// A black picture for clips like `clip`. An odd side grows by one: 4:2:0 has no half
    /// chroma samples.
    pub fn for_clip(clip: &Clip) -> Yuv420 {
        let (width, height) = (clip.width().next_multiple_of(2), clip.height().next_multiple_of(2));
        let pixels = width.saturating_mul(height);
        Yuv420 {
            width,
            height,
            y: vec![16; pixels],
            u: vec![128; pixels / 4],
            v: vec![128; pixels / 4],
        }
    }

    /// Takes over a frame of `clip`, row by row; the last column and row are repeated where a
    /// side is odd.
    pub fn set(&mut self, clip: &Clip, frame: &[u8]) {
        let row_bytes = clip.width() * 3;
        let chroma_width = self.width / 2;
        let planes = self
            .y
            .chunks_exact_mut(self.width * 2)
            .zip(self.u.chunks_exact_mut(chroma_width).zip(self.v.chunks_exact_mut(chroma_width)));
        for ((luma, (u, v)), rows) in planes.zip(frame.chunks(row_bytes * 2)) {
            let upper = rows.get(..row_bytes).unwrap_or(rows);
            let lower = rows.get(row_bytes..).filter(|row| !row.is_empty()).unwrap_or(upper);
            let (luma_upper, luma_lower) = luma.split_at_mut(self.width);
            let pairs = luma_upper.chunks_exact_mut(2).zip(luma_lower.chunks_exact_mut(2));
            let chroma = u.iter_mut().zip(v.iter_mut());
            let pixels = upper.chunks(6).zip(lower.chunks(6));
            for (((y0, y1), (u, v)), (pixels0, pixels1)) in pairs.zip(chroma).zip(pixels) {
                let mut sum = [0f32; 3];
                for (y, pixels) in [(y0, pixels0), (y1, pixels1)] {
                    let mut last = [0f32; 3];
                    for (x, y) in y.iter_mut().enumerate() {
                        if let Some(&[r, g, b]) = pixels.get(x * 3..x * 3 + 3) {
                            last = [f32::from(r), f32::from(g), f32::from(b)];
                        }
                        *y = luma_of(last);
                        sum.iter_mut().zip(last).for_each(|(sum, value)| *sum += value);
                    }
                }
                [*u, *v] = chroma_of(sum.map(|value| value / 4.0));
            }
        }
    }
}

fn brightness([r, g, b]: [f32; 3]) -> f32 {
    RED * r + GREEN * g + BLUE * b
}

fn luma_of(rgb: [f32; 3]) -> u8 {
    (16.0 + brightness(rgb) * (219.0 / 255.0)).round() as u8
}

fn chroma_of(rgb: [f32; 3]) -> [u8; 2] {
    let [r, _, b] = rgb;
    let y = brightness(rgb);
    let scale = 224.0 / 255.0;
    [
        (128.0 + (b - y) / (2.0 * (1.0 - BLUE)) * scale).round() as u8,
        (128.0 + (r - y) / (2.0 * (1.0 - RED)) * scale).round() as u8,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_colour(width: usize, height: usize, rgb: [u8; 3]) -> Yuv420 {
        let clip = Clip::new(width, height, 1, rgb.repeat(width * height)).unwrap();
        let mut picture = Yuv420::for_clip(&clip);
        picture.set(&clip, clip.rgb8());
        picture
    }

    #[test]
    fn primaries_have_the_values_of_bt_709() {
        // ITU-R BT.709-6, limited range, 8 bits.
        for (rgb, yuv) in [
            ([0, 0, 0], [16, 128, 128]),
            ([255, 255, 255], [235, 128, 128]),
            ([255, 0, 0], [63, 102, 240]),
            ([0, 255, 0], [173, 42, 26]),
            ([0, 0, 255], [32, 240, 118]),
        ] {
            let picture = one_colour(2, 2, rgb);
            assert_eq!((picture.y[3], picture.u[0], picture.v[0]), (yuv[0], yuv[1], yuv[2]));
        }
    }

    #[test]
    fn odd_sides_repeat_the_last_pixels() {
        let picture = one_colour(3, 5, [255, 0, 0]);
        assert_eq!((picture.width, picture.height), (4, 6));
        assert_eq!(picture.y, [63; 24]);
        assert_eq!(picture.u, [102; 6]);
        assert_eq!(picture.v, [240; 6]);
    }

    #[test]
    fn each_pixel_lands_in_its_place() {
        let rgb: Vec<u8> =
            [0, 255, 0, 0, 255, 255, 0, 0].iter().flat_map(|&gray: &u8| [gray; 3]).collect();
        let clip = Clip::new(4, 2, 1, rgb).unwrap();
        let mut picture = Yuv420::for_clip(&clip);
        picture.set(&clip, clip.rgb8());
        assert_eq!(picture.y, [16, 235, 16, 16, 235, 235, 16, 16]);
        assert_eq!((picture.u, picture.v), (vec![128; 2], vec![128; 2]));
    }
}
