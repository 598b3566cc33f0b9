//! The judge on drawn clips, right and wrong, and beside judge.py on the same clips.

use super::measure::{difference, measure};
use super::scenes::{draw, first_frame, Sizes, FRAMES, LANES, SIZE, SIZES, STARTS};
use super::{colors, judge, keeps, Verdict};
use crate::clip::Clip;
use crate::goldens;
use crate::prompts::{Prompt, ALL, BACKGROUNDS, COUNTS, OF_A_COLOR};

const PICTURE: usize = SIZE * SIZE;

/// Numbers that look random: a linear congruential generator, its high bits.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() * count as f64) as usize
    }

    /// Near enough to normally distributed, with the deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

/// The clip's frames in another order.
fn reordered(clip: &Clip, order: impl IntoIterator<Item = usize>) -> Clip {
    let pictures: Vec<&[[f64; 3]]> = clip.pictures().collect();
    let pixels: Vec<[f64; 3]> = order.into_iter().flat_map(|i| pictures[i].to_vec()).collect();
    Clip { frames: pixels.len() / PICTURE, pixels, ..*clip }
}

fn noisy(clip: &Clip, deviation: f64, numbers: &mut Numbers) -> Clip {
    let noise = |value: f64, n: f64| (value + deviation * n).clamp(0.0, 1.0);
    let pixels = clip.pixels.iter().map(|pixel| pixel.map(|value| noise(value, numbers.normal())));
    Clip { pixels: pixels.collect(), ..*clip }
}

/// A bar of the background through the middle of the shape of every frame.
fn cut_in_two(clip: &Clip, ground: [f64; 3]) -> Clip {
    let mut cut = clip.clone();
    for picture in cut.pixels.chunks_exact_mut(PICTURE) {
        let away = |p: &[f64; 3]| (0..3).map(|c| (p[c] - ground[c]).abs()).sum::<f64>() > 0.2;
        let rows: Vec<usize> =
            (0..PICTURE).filter(|&i| away(&picture[i])).map(|i| i / SIZE).collect();
        let middle = rows.iter().sum::<usize>() / rows.len();
        for row in middle - 2..=middle + 2 {
            picture[row * SIZE..(row + 1) * SIZE].fill(ground);
        }
    }
    cut
}

/// Both shapes on one background.
fn together(a: &Clip, b: &Clip, ground: [f64; 3]) -> Clip {
    let far = |pixel: &[f64; 3]| (0..3).map(|c| (pixel[c] - ground[c]).abs()).sum::<f64>();
    let pixels = a.pixels.iter().zip(&b.pixels);
    Clip { pixels: pixels.map(|(a, b)| if far(a) > far(b) { *a } else { *b }).collect(), ..*a }
}

fn expect(clip: &Clip, prompt: &Prompt, wrong: &[&str], why: &str) {
    let verdict = judge(clip, prompt);
    assert_eq!(verdict.all(), wrong.is_empty(), "{why}: {prompt}: {verdict:?}");
    for part in wrong {
        assert!(verdict.wrong().contains(part), "{why}: {prompt}: {part} passed: {verdict:?}");
    }
}

/// A right clip and every kind of wrong one, of one scene.
fn check_scene(prompt: &Prompt, sizes: Sizes, numbers: &mut Numbers) {
    let (start, lane) = (STARTS[numbers.below(3)], LANES[numbers.below(9)]);
    let clip = draw(prompt, sizes, start, lane);
    let ground = BACKGROUNDS[prompt.places[3]].1;
    expect(&clip, prompt, &[], "right clip");
    expect(&noisy(&clip, 0.03, numbers), prompt, &[], "right clip, some noise");
    for (kind, part) in ["color", "shape", "motion", "background"].into_iter().enumerate() {
        let mut other = *prompt;
        other.places[kind] =
            (other.places[kind] + 1 + numbers.below(COUNTS[kind] - 1)) % COUNTS[kind];
        expect(&clip, &other, &[part], &format!("wrong {part}"));
    }
    expect(&reordered(&clip, (0..FRAMES).rev()), prompt, &["motion"], "played backwards");
    expect(&reordered(&clip, [0; FRAMES]), prompt, &["motion"], "standing still");
    // 5 shares no factor with the 17 frames, so that each comes once.
    let shuffled = reordered(&clip, (0..FRAMES).map(|i| i * 5 % FRAMES));
    expect(&shuffled, prompt, &["motion"], "frames shuffled");
    let jump = reordered(&clip, (0..FRAMES).map(|i| if i < 8 { 0 } else { FRAMES - 1 }));
    expect(&jump, prompt, &["motion"], "one jump");
    let mut gone = clip.clone();
    gone.pixels[9 * PICTURE..10 * PICTURE].fill(ground);
    expect(&gone, prompt, &["clean"], "gone in one frame");
    let alone = Clip { pixels: vec![ground; clip.pixels.len()], ..clip };
    expect(&alone, prompt, &["color", "shape", "motion", "clean"], "background alone");
    expect(&cut_in_two(&clip, ground), prompt, &["shape"], "shape cut in two");
    let second = if lane <= 28.0 { lane + 28.0 } else { lane - 28.0 };
    let both = together(&clip, &draw(prompt, sizes, start, second), ground);
    expect(&both, prompt, &["clean"], "two shapes");
}

#[test]
fn right_clips_pass_and_each_wrong_one_is_refused_for_its_reason() {
    let mut numbers = Numbers(1);
    for sizes in SIZES {
        // 7 shares no factor with the counts of words, so that every word comes up.
        for number in (0..ALL).step_by(7) {
            check_scene(&Prompt::at(number), sizes, &mut numbers);
        }
    }
}

/// A picture is kept by a clip that starts with it, and by none that starts with another.
#[test]
fn pictures_are_kept_or_not() {
    let mut numbers = Numbers(3);
    for number in (0..ALL).step_by(7) {
        let prompt = Prompt::at(number);
        let (start, lane) = (STARTS[numbers.below(3)], LANES[numbers.below(9)]);
        let picture = first_frame(&prompt, start, lane);
        let clip = draw(&prompt, super::scenes::USUAL, start, lane);
        assert!(keeps(&clip, &picture), "{prompt}");
        assert!(keeps(&noisy(&clip, 0.02, &mut numbers), &picture), "{prompt}, some noise");
        assert!(!keeps(&reordered(&clip, (0..FRAMES).rev()), &picture), "{prompt}, backwards");
        assert!(!keeps(&reordered(&clip, 1..FRAMES), &picture), "{prompt}, a frame late");
        let aside = draw(&prompt, super::scenes::USUAL, start, lane + 2.0);
        assert!(!keeps(&aside, &picture), "{prompt}, to the side");
        for (kind, part) in [(0, "color"), (1, "shape"), (3, "background")] {
            let mut other = prompt;
            other.places[kind] =
                (other.places[kind] + 1 + numbers.below(COUNTS[kind] - 1)) % COUNTS[kind];
            let other = first_frame(&other, start, lane);
            assert!(!keeps(&clip, &other), "{prompt}, another {part}");
        }
    }
}

#[test]
fn an_adapters_color_is_told_from_the_others() {
    for number in (ALL..ALL + OF_A_COLOR).step_by(5) {
        let pink = Prompt::at(number);
        let clip = draw(&pink, super::scenes::USUAL, 16.0, 32.0);
        expect(&clip, &pink, &[], "an adapter's color");
        for color in 0..COUNTS[0] {
            let mut other = pink;
            other.places[0] = color;
            expect(&clip, &other, &["color"], "an adapter's color for another");
            let clip = draw(&other, super::scenes::USUAL, 16.0, 32.0);
            expect(&clip, &pink, &["color"], "another for an adapter's color");
        }
    }
}

#[test]
fn noise_is_no_clip() {
    let mut numbers = Numbers(2);
    let mut pixel = || [(); 3].map(|()| numbers.next());
    let pixels = (0..FRAMES * PICTURE).map(|_| pixel()).collect();
    let noise = Clip { frames: FRAMES, height: SIZE, width: SIZE, pixels };
    let prompt = "a red ball moves right on a gray background".parse().unwrap();
    expect(&noise, &prompt, &["shape", "motion"], "noise");
}

/// Clips drawn, spoilt and generated, with what judge.py measured and said of each.
#[test]
fn python_and_rust_agree() {
    let expected = goldens::json("judge.json");
    let clips = expected["clips"].as_array().unwrap();
    let picture = reordered(&goldens::clip("drawn-right-ball.png"), [0]);
    let mut verdicts = Vec::new();
    for golden in clips {
        let name = golden["file"].as_str().unwrap();
        let clip = goldens::clip(name);
        let prompt: Prompt = golden["prompt"].as_str().unwrap().parse().unwrap();
        let seen = measure(&clip, &colors(&prompt));
        assert_eq!(seen.background, golden["background"], "{name}");
        assert_eq!(seen.color.map(|(color, _)| color), golden["color"].as_str(), "{name}");
        assert_eq!(serde_json::json!(seen.areas), golden["areas"], "{name}");
        assert_eq!(serde_json::json!(seen.rest), golden["rest"], "{name}");
        let close = |found: f64, golden: &serde_json::Value| {
            assert!((found - golden.as_f64().unwrap()).abs() < 1e-9, "{name}: {found}, {golden}");
        };
        if let Some((_, distance)) = seen.color {
            close(distance, &golden["color_distance"]);
        }
        assert_eq!(seen.overlaps.len(), golden["overlaps"].as_array().unwrap().len(), "{name}");
        for (frame, overlaps) in seen.overlaps.iter().enumerate() {
            (0..3).for_each(|shape| close(overlaps[shape], &golden["overlaps"][frame][shape]));
        }
        close(difference(&clip, &picture), &golden["difference"]);
        assert_eq!(seen.centres.is_some(), golden["centres"].is_array(), "{name}");
        for (frame, centre) in seen.centres.iter().flatten().enumerate() {
            (0..2).for_each(|axis| close(centre[axis], &golden["centres"][frame][axis]));
        }
        let verdict = judge(&clip, &prompt);
        for (part, good) in Verdict::PARTS.into_iter().zip(verdict.parts()) {
            assert_eq!(good, golden["verdict"][part], "{name}: {part}");
        }
        assert_eq!(verdict.all(), golden["verdict"]["all"], "{name}");
        verdicts.push(verdict);
    }
    // The set tells something only if both verdicts on every part are among it.
    for part in 0..Verdict::PARTS.len() {
        for good in [true, false] {
            let among = verdicts.iter().any(|verdict| verdict.parts()[part] == good);
            assert!(among, "no clip whose {} is {good}", Verdict::PARTS[part]);
        }
    }
    assert!(verdicts.iter().any(Verdict::all));
}
