//! What is seen in a clip, whatever was asked for.

use crate::clip::{median_color, Clip};
use crate::prompts::{Named, BACKGROUNDS};

/// A pixel belongs to the moving region if its color is further than this from the background's:
/// Euclidean distance, each channel in [0, 1].
pub const REGION: f64 = 0.25;
/// A region smaller than this share of the picture is none.
const SMALLEST: f64 = 0.005;
/// A box less wide than this share of its height, or the other way round, is neither square nor
/// round, however well it is filled.
const SQUASHED: f64 = 0.75;

/// What is seen in a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The nearest named background.
    pub background: &'static str,
    /// The nearest named color of the region, and how far it is; `None` if a frame has no region.
    pub color: Option<(&'static str, f64)>,
    /// For each frame with a region: how alike it is to a ball, a square, a triangle.
    pub overlaps: Vec<[f64; 3]>,
    /// The region's centre in each frame, as shares of width and height; `None` if a frame has
    /// no region.
    pub centres: Option<Vec<[f64; 2]>>,
    /// Pixels of the region in each frame.
    pub areas: Vec<usize>,
    /// Pixels unlike the background outside the region in each frame.
    pub rest: Vec<usize>,
}

/// `colors` are those that the region's is compared with.
pub fn measure(clip: &Clip, colors: &[Named]) -> Seen {
    let ground = median_color(border(clip));
    let mut seen = Seen {
        background: nearest(&ground, &BACKGROUNDS).0,
        color: None,
        overlaps: Vec::new(),
        centres: None,
        areas: Vec::new(),
        rest: Vec::new(),
    };
    let (mut centres, mut medians) = (Vec::new(), Vec::new());
    for picture in clip.pictures() {
        let mask: Vec<bool> =
            picture.iter().map(|pixel| distance(pixel, &ground) > REGION).collect();
        let patch = largest_patch(&mask, clip.width);
        seen.areas.push(patch.len());
        seen.rest.push(mask.iter().filter(|&&away| away).count() - patch.len());
        if (patch.len() as f64) < SMALLEST * picture.len() as f64 {
            continue;
        }
        centres.push(centre(&patch, clip.height, clip.width));
        medians.push(median_color(patch.iter().map(|&place| &picture[place])));
        seen.overlaps.push(overlaps(&patch, clip.width));
    }
    if centres.len() == clip.frames {
        seen.color = Some(nearest(&median_color(&medians), colors));
        seen.centres = Some(centres);
    }
    seen
}

/// How far a clip's first frame is from a picture of its size: their mean squared difference, as a
/// share of that of the picture and a plain one of its border's median color.
pub fn difference(clip: &Clip, picture: &Clip) -> f64 {
    let plain = median_color(border(picture));
    let (mut apart, mut drawn) = (0.0, 0.0);
    for (found, asked) in clip.pixels.iter().zip(&picture.pixels) {
        apart += distance(found, asked).powi(2);
        drawn += distance(&plain, asked).powi(2);
    }
    apart / drawn.max(1e-9)
}

/// The two outermost rows and columns of every frame; the corners count as both.
fn border(clip: &Clip) -> impl Iterator<Item = &[f64; 3]> {
    clip.pictures().flat_map(|picture| {
        picture.iter().enumerate().flat_map(|(place, pixel)| {
            let (y, x) = (place / clip.width, place % clip.width);
            let outermost = |at: usize, side: usize| usize::from(at < 2 || at + 2 >= side);
            std::iter::repeat_n(pixel, outermost(y, clip.height) + outermost(x, clip.width))
        })
    })
}

fn distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// Name and distance of the named color nearest to `color`.
fn nearest(color: &[f64; 3], named: &[Named]) -> (&'static str, f64) {
    let distances = named.iter().map(|(name, known)| (*name, distance(color, known)));
    distances.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("", f64::INFINITY))
}

/// The places of the largest patch whose pixels touch side by side; of patches of one size, the
/// first from the top.
fn largest_patch(mask: &[bool], width: usize) -> Vec<usize> {
    let mut left = mask.to_vec();
    let mut best = Vec::new();
    for start in 0..mask.len() {
        if !left[start] {
            continue;
        }
        left[start] = false;
        let mut patch = vec![start];
        let mut next = 0;
        while let Some(&place) = patch.get(next) {
            next += 1;
            let x = place % width;
            let beside = [
                place.checked_sub(width),
                Some(place + width),
                (x > 0).then(|| place - 1),
                (x + 1 < width).then_some(place + 1),
            ];
            for neighbour in beside.into_iter().flatten() {
                if left.get(neighbour) == Some(&true) {
                    left[neighbour] = false;
                    patch.push(neighbour);
                }
            }
        }
        if patch.len() > best.len() {
            best = patch;
        }
    }
    best
}

fn centre(patch: &[usize], height: usize, width: usize) -> [f64; 2] {
    let mean = |part: fn(usize, usize) -> usize| {
        patch.iter().map(|&place| part(place, width)).sum::<usize>() as f64 / patch.len() as f64
    };
    [mean(|place, width| place % width) / width as f64, mean(|p, w| p / w) / height as f64]
}

/// Intersection over union of a patch with a ball, a square and a triangle drawn into its
/// bounding box.
fn overlaps(patch: &[usize], width: usize) -> [f64; 3] {
    let (mut low, mut high) = ([usize::MAX; 2], [0; 2]);
    for &place in patch {
        for (axis, at) in [place % width, place / width].into_iter().enumerate() {
            low[axis] = low[axis].min(at);
            high[axis] = high[axis].max(at);
        }
    }
    let [w, h] = [0, 1].map(|axis| high[axis] - low[axis] + 1);
    let mut filled = vec![false; w * h];
    for &place in patch {
        filled[(place / width - low[1]) * w + place % width - low[0]] = true;
    }
    let drawn: [fn(f64, f64) -> bool; 3] = [
        |x, y| (2.0 * x - 1.0).powi(2) + (2.0 * y - 1.0).powi(2) <= 1.0,
        |_, _| true,
        |x, y| (2.0 * x - 1.0).abs() <= y,
    ];
    let squash = w.min(h) as f64 / w.max(h) as f64;
    drawn.map(|covers| {
        let (mut both, mut either) = (0, 0);
        for (place, &filled) in filled.iter().enumerate() {
            // From 0 at the left and the top to 1.
            let x = ((place % w) as f64 + 0.5) / w as f64;
            let y = ((place / w) as f64 + 0.5) / h as f64;
            let covered = covers(x, y);
            both += usize::from(filled && covered);
            either += usize::from(filled || covered);
        }
        both as f64 / either as f64 * (squash / SQUASHED).min(1.0)
    })
}
