//! Drawn clips, for the tests and to be set in motion: the scenes of examples/demo-model/training/scenes.py, one flat
//! shape that moves over a plain background by 2 pixels a frame.

use crate::clip::Clip;
use crate::prompts::{Prompt, BACKGROUNDS, DIRECTIONS};

pub const SIZE: usize = 64;
#[cfg(test)]
pub const FRAMES: usize = 17;
const SPEED: f64 = 2.0;
/// Places of the centre along the motion at the first frame, from the side it comes from.
pub const STARTS: [f64; 3] = [12.0, 16.0, 20.0];
/// Places of the centre across the motion.
#[cfg(test)]
pub const LANES: [f64; 9] = [16.0, 20.0, 24.0, 28.0, 32.0, 36.0, 40.0, 44.0, 48.0];

/// How big the shapes are, in pixels from the centre.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// The ball's radius, and half of the triangle's base.
    pub round: f64,
    /// Half of the square's side, and half of the triangle's height.
    pub straight: f64,
}

/// The size of the demo model's shapes.
pub const USUAL: Sizes = Sizes { round: 12.0, straight: 11.0 };
/// Two sizes of shapes that models were trained on.
#[cfg(test)]
pub const SIZES: [Sizes; 2] = [Sizes { round: 10.5, straight: 9.5 }, USUAL];

/// Share of a pixel at an offset from the shape's centre that the shape covers; edges are one
/// pixel soft. `shape` is its place in the list of shapes.
fn coverage(shape: usize, sizes: Sizes, dx: f64, dy: f64) -> f64 {
    let Sizes { round, straight } = sizes;
    let distance = match shape {
        0 => dx.hypot(dy) - round,
        1 => dx.abs().max(dy.abs()) - straight,
        // Point upwards.
        _ => {
            let slope = round / (2.0 * straight);
            let side = (dx.abs() - slope * (dy + straight)) / (1.0 + slope * slope).sqrt();
            side.max(dy - straight)
        }
    };
    (0.5 - distance).clamp(0.0, 1.0)
}

/// A whole scene.
#[cfg(test)]
pub fn draw(prompt: &Prompt, sizes: Sizes, start: f64, lane: f64) -> Clip {
    frames(prompt, sizes, start, lane, FRAMES)
}

/// The first frame of a scene in 256 levels, as a picture of one frame.
pub fn first_frame(prompt: &Prompt, start: f64, lane: f64) -> Clip {
    let mut picture = frames(prompt, USUAL, start, lane, 1);
    for value in picture.pixels.iter_mut().flatten() {
        *value = (*value * 255.0).round() / 255.0;
    }
    picture
}

fn frames(prompt: &Prompt, sizes: Sizes, start: f64, lane: f64, count: usize) -> Clip {
    let [_, shape, direction, background] = prompt.places;
    let (front, back) = (prompt.named_color().1, BACKGROUNDS[background].1);
    let [sx, sy] = DIRECTIONS[direction].1;
    let mut pixels = Vec::with_capacity(count * SIZE * SIZE);
    for frame in 0..count {
        let mut along = start + SPEED * frame as f64;
        if sx + sy < 0.0 {
            along = SIZE as f64 - along;
        }
        let (cx, cy) = if sx == 0.0 { (lane, along) } else { (along, lane) };
        for place in 0..SIZE * SIZE {
            let (x, y) = ((place % SIZE) as f64, (place / SIZE) as f64);
            let cover = coverage(shape, sizes, x - cx, y - cy);
            pixels.push([0, 1, 2].map(|c| back[c] * (1.0 - cover) + front[c] * cover));
        }
    }
    Clip { frames: count, height: SIZE, width: SIZE, pixels }
}
