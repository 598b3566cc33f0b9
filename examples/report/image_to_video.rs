//! `report judge-image-to-video`: how many drawn pictures move as their prompts say.

use crate::command_line::Options;
use crate::handles::Pipeline;
use crate::judge::scenes::{first_frame, SIZE, STARTS};
use crate::judge::{judge, keeps};
use crate::machine::Clock;
use crate::progress::Progress;
use crate::prompts::{even_sample, Prompt, COUNTS, DIRECTIONS};
use crate::whole_model::{
    at_least, by_name, clips, conditions, failures, of_parts, of_words, rows, write, Count, Judged,
};
use crate::Result;
use serde_json::json;

pub const PAGE: &str = "demo-model-image-to-video-judged.md";
pub const NUMBERS: &str = "demo-model-image-to-video-judged.json";

/// The lanes of examples/demo-model/training/train_image_to_video.py: places of the centre across
/// the motion, as far to the sides as the starts lie from the back.
const LANES: [f64; 11] = [12.0, 16.0, 20.0, 24.0, 28.0, 32.0, 36.0, 40.0, 44.0, 48.0, 52.0];

/// Where the shape of a first frame is, and where it could go from there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scene {
    start: f64,
    lane: f64,
    /// From a corner another direction is as possible as the prompt's: the picture alone does not
    /// tell.
    corner: bool,
}

/// The scenes of a prompt that were kept from the training: `held_out` of
/// train_image_to_video.py.
pub fn held_out(prompt: &Prompt) -> Vec<Scene> {
    let [color, shape, direction, background] = prompt.places;
    let picture = (color * COUNTS[1] + shape) * COUNTS[3] + background;
    let [sx, sy] = DIRECTIONS[direction].1;
    let scenes =
        STARTS.into_iter().flat_map(|start| LANES.into_iter().map(move |lane| (start, lane)));
    let held = |&(start, lane): &(f64, f64)| {
        let along = if sx + sy > 0.0 { start } else { SIZE as f64 - start };
        let (x, y) = if sx == 0.0 { (lane, along) } else { (along, lane) };
        (picture + x as usize / 4 + 3 * (y as usize / 4)).is_multiple_of(8)
    };
    let scene = |(start, lane)| {
        let corner = lane <= STARTS[2] || lane >= SIZE as f64 - STARTS[2];
        Scene { start, lane, corner }
    };
    scenes.filter(held).map(scene).collect()
}

pub fn run(options: &Options) -> Result<()> {
    let mut pipeline = Pipeline::load(&options.model)?;
    let steps = options.steps.unwrap_or(pipeline.default_steps());
    let mut prompts = even_sample(options.prompts);
    prompts.sort_by_key(Prompt::number);
    let mut progress = Progress::of(prompts.len() * options.seeds);
    let (mut judged, mut scenes) = (Vec::new(), Vec::new());
    for k in 0..options.seeds {
        for prompt in &prompts {
            let held_out = held_out(prompt);
            // Neighbours in the list are of one start and lane or nearly: steps through it.
            let scene = held_out[(prompt.number() + k * held_out.len() / 3) % held_out.len()];
            let picture = first_frame(prompt, scene.start, scene.lane);
            let seed = (1000 * k + prompt.number()) as u64;
            let text = prompt.to_string();
            let run = pipeline.generate_from(Some(&picture), &text, seed, steps, Clock::Wall)?;
            let clip = run.video.shown()?;
            let kept = Some(keeps(&clip, &picture));
            judged.push(Judged { prompt: *prompt, seed, verdict: judge(&clip, prompt), kept });
            scenes.push(scene);
            progress.advance(&text);
        }
    }
    let mut parts = of_parts(&judged);
    parts.push(Count::of("first frame", judged.iter().map(|one| one.kept == Some(true))));
    let of_places = [("from a corner", true), ("from elsewhere", false)].map(|(name, corner)| {
        let there = judged.iter().zip(&scenes).filter(move |(_, scene)| scene.corner == corner);
        Count::of(name, there.map(|(one, _)| one.fulfilled()))
    });
    let words = of_words(&judged);
    let tables = rows("part", &parts)
        + &rows("pictures with the shape", &of_places)
        + &rows("prompts with the word", &words);
    let conditions = conditions(&pipeline, options, steps);
    let page = format!(
        "# The demo model from pictures, judged\n\n\
         Made by `make judge` on {}; do not edit. {} of the 288 prompts, {} clips of each, every \
         clip from a drawn picture that was kept from the training (train_image_to_video.py's \
         `held_out`), uncached, {} steps, guidance {}, from `{}`. Seeds: {}. The judge's rules are \
         at the top of `examples/demo-model/judge.py`; *first frame* is its *kept*, and *all* \
         means every part at once. From a corner \
         the shape could go two ways, and the prompt alone says which; from elsewhere only the \
         prompt's way leads across the picture.\n\n{tables}{}",
        conditions["date"].as_str().unwrap_or_default(),
        conditions["prompts"],
        conditions["clips_of_each_prompt"],
        conditions["steps"],
        conditions["guidance_scale"],
        conditions["model"].as_str().unwrap_or_default(),
        conditions["seeds"].as_str().unwrap_or_default(),
        failures(&judged),
    );
    let numbers = json!({
        "conditions": conditions,
        "parts": by_name(&parts),
        "places": by_name(&of_places),
        "words": by_name(&words),
        "clips": clips(&judged),
    });
    write(options, [PAGE, NUMBERS], &(page.trim_end().to_string() + "\n"), &numbers)?;
    print!("{tables}");
    at_least(options, &parts[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompts::ALL;

    /// The rule of the training script: it keeps 1,188 of 9,504 scenes.
    #[test]
    fn one_picture_in_eight_is_held_out() {
        let scenes: Vec<Vec<Scene>> =
            (0..ALL).map(|number| held_out(&Prompt::at(number))).collect();
        assert_eq!(scenes.iter().map(Vec::len).sum::<usize>(), 1188);
        assert!(scenes.iter().all(|scenes| scenes.len() >= 3));
        assert!(scenes.iter().flatten().filter(|scene| scene.corner).count() > 500);
        let first: Vec<(f64, f64)> = scenes[0].iter().map(|s| (s.start, s.lane)).collect();
        assert_eq!(first, FIRST);
    }

    /// What Python says of "a red ball moves right on a black background".
    const FIRST: [(f64, f64); 4] = [(12.0, 28.0), (16.0, 16.0), (16.0, 48.0), (20.0, 36.0)];
}
