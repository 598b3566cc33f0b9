//! Judges whether a clip shows what its prompt says: the rules of examples/demo-model/judge.py,
//! number for number (tests compare the two on the same clips).
//!
//! Measured, nothing learnt. The background is the median color of the picture's border over all
//! frames. In each frame the moving region is the largest connected patch of pixels whose color
//! is further than [`measure::REGION`] from it. Then:
//!
//! | part | asked |
//! | --- | --- |
//! | background | the nearest of the four named background colors is the prompt's |
//! | color | the nearest of the six named colors to the region's median color is the prompt's, and no further than [`COLOR`] |
//! | shape | in at least [`SHARE`] of the frames the region is like the prompt's shape drawn into its bounding box (intersection over union at least [`OVERLAP`]) and at least as much as like the two others |
//! | motion | the region's centre moves at least [`TRAVEL`] of the picture along the prompt's axis, to the prompt's side, strays across it by no more than [`STRAY`] of that, and goes steadily: a straight line through time fits the centre to [`STEADY`] of the picture |
//! | clean | the region is there in every frame, its area stays within [`AREA`] of its median, and other patches are below [`REST`] of its area |
//!
//! Where a clip was made from a picture, [`keeps`] is asked besides: its first frame is that
//! picture, to within [`KEPT`] of what the picture has besides its background.

mod measure;
pub mod scenes;
#[cfg(test)]
mod tests;

use crate::clip::{median, Clip};
use crate::prompts::{Named, Prompt, COLORS, DIRECTIONS};
use measure::Seen;

/// Distance of colors, each channel in [0, 1].
const COLOR: f64 = 0.3;
const OVERLAP: f64 = 0.8;
const SHARE: f64 = 0.8;
const TRAVEL: f64 = 0.3;
const STRAY: f64 = 0.2;
const STEADY: f64 = 0.03;
const AREA: f64 = 0.35;
const REST: f64 = 0.15;
/// A shape off by 2 pixels, of another kind or another color is further away.
const KEPT: f64 = 0.11;

/// Which parts of a prompt a clip fulfils.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub background: bool,
    pub color: bool,
    pub shape: bool,
    pub motion: bool,
    pub clean: bool,
}

impl Verdict {
    pub const PARTS: [&'static str; 5] = ["background", "color", "shape", "motion", "clean"];

    /// In the order of [`Verdict::PARTS`].
    pub fn parts(&self) -> [bool; 5] {
        [self.background, self.color, self.shape, self.motion, self.clean]
    }

    /// The prompt is fulfilled.
    pub fn all(&self) -> bool {
        self.parts().iter().all(|&good| good)
    }

    /// The parts that are not.
    pub fn wrong(&self) -> Vec<&'static str> {
        let parts = Verdict::PARTS.into_iter().zip(self.parts());
        parts.filter(|(_, good)| !good).map(|(part, _)| part).collect()
    }
}

/// The colors that a clip's is compared with: the demo model's, and an adapter's that the prompt
/// asks for.
fn colors(prompt: &Prompt) -> Vec<Named> {
    let asked = prompt.named_color();
    let mut colors = COLORS.to_vec();
    if !colors.contains(&asked) {
        colors.push(asked);
    }
    colors
}

/// Whether the clip begins with the picture, a clip of one frame of the same size.
pub fn keeps(clip: &Clip, picture: &Clip) -> bool {
    measure::difference(clip, picture) <= KEPT
}

/// Whether each part of the prompt is fulfilled.
pub fn judge(clip: &Clip, prompt: &Prompt) -> Verdict {
    let seen = measure::measure(clip, &colors(prompt));
    let background = seen.background == prompt.background();
    let (Some(centres), Some((color, distance))) = (&seen.centres, seen.color) else {
        return Verdict { background, color: false, shape: false, motion: false, clean: false };
    };
    Verdict {
        background,
        color: color == prompt.color() && distance <= COLOR,
        shape: is_shape(&seen, prompt.places[1]),
        motion: moves(centres, DIRECTIONS[prompt.places[2]].1),
        clean: is_clean(&seen),
    }
}

fn is_shape(seen: &Seen, shape: usize) -> bool {
    let alike = |overlaps: &&[f64; 3]| {
        overlaps[shape] >= OVERLAP && overlaps.iter().all(|&other| overlaps[shape] >= other)
    };
    let frames = seen.overlaps.len();
    seen.overlaps.iter().filter(alike).count() as f64 / frames as f64 >= SHARE
}

fn moves(centres: &[[f64; 2]], toward: [f64; 2]) -> bool {
    let (Some(first), Some(last)) = (centres.first(), centres.last()) else {
        return false;
    };
    let travel = [last[0] - first[0], last[1] - first[1]];
    let along = travel[0] * toward[0] + travel[1] * toward[1];
    let across = (travel[0] * toward[1] + travel[1] * toward[0]).abs();
    along >= TRAVEL && across <= STRAY * along && unsteadiness(centres) <= STEADY
}

/// The furthest that a centre is, in x or y, from the straight line through time that fits best.
fn unsteadiness(centres: &[[f64; 2]]) -> f64 {
    let count = centres.len() as f64;
    let mean_time = (count - 1.0) / 2.0;
    let time = |frame: usize| frame as f64 - mean_time;
    let spread: f64 = (0..centres.len()).map(|frame| time(frame).powi(2)).sum();
    let mut furthest: f64 = 0.0;
    for axis in 0..2 {
        let mean = centres.iter().map(|centre| centre[axis]).sum::<f64>() / count;
        let moments = centres.iter().enumerate().map(|(frame, c)| time(frame) * (c[axis] - mean));
        let slope = moments.sum::<f64>() / spread;
        for (frame, centre) in centres.iter().enumerate() {
            furthest = furthest.max((centre[axis] - mean - slope * time(frame)).abs());
        }
    }
    furthest
}

fn is_clean(seen: &Seen) -> bool {
    let usual = median(seen.areas.iter().map(|&area| area as f64));
    seen.areas.iter().zip(&seen.rest).all(|(&area, &rest)| {
        let area = area as f64;
        (area / usual - 1.0).abs() <= AREA && rest as f64 <= REST * area
    })
}
