//! The sentences that the demo model knows, and even samples of them.

use std::fmt;
use std::str::FromStr;

/// A name and what it looks like: R, G, B in [0, 1].
pub type Named = (&'static str, [f64; 3]);

pub const COLORS: [Named; 6] = [
    ("red", [1.0, 0.1, 0.1]),
    ("green", [0.1, 0.8, 0.2]),
    ("blue", [0.15, 0.3, 1.0]),
    ("yellow", [1.0, 0.9, 0.1]),
    ("white", [1.0, 1.0, 1.0]),
    ("purple", [0.65, 0.15, 0.85]),
];
/// The color that the demo model does not know and its adapter `lora-pink` draws.
pub const PINK: Named = ("pink", [1.0, 0.45, 0.7]);
pub const SHAPES: [&str; 3] = ["ball", "square", "triangle"];
/// With the way that each goes, (x, y); y grows downwards.
pub const DIRECTIONS: [(&str, [f64; 2]); 4] =
    [("right", [1.0, 0.0]), ("left", [-1.0, 0.0]), ("up", [0.0, -1.0]), ("down", [0.0, 1.0])];
pub const BACKGROUNDS: [Named; 4] = [
    ("black", [0.02, 0.02, 0.02]),
    ("gray", [0.4, 0.4, 0.4]),
    ("navy", [0.04, 0.06, 0.3]),
    ("brown", [0.35, 0.2, 0.1]),
];

/// How many there are of each kind of word, in the order of [`Prompt::places`].
pub const COUNTS: [usize; 4] = [COLORS.len(), SHAPES.len(), DIRECTIONS.len(), BACKGROUNDS.len()];
/// How many prompts there are: 288.
pub const ALL: usize = COUNTS[0] * COUNTS[1] * COUNTS[2] * COUNTS[3];
/// How many prompts ask for one color: 48.
pub const OF_A_COLOR: usize = ALL / COUNTS[0];

/// "a {color} {shape} moves {direction} on a {background} background"
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prompt {
    /// The place of each word in its list: color, shape, direction, background. Pink follows on
    /// the last color.
    pub places: [usize; 4],
}

impl Prompt {
    /// The prompt at a place, from 0 to 287, of the list in which the background changes
    /// fastest and the color slowest. The 48 that follow are the pink ones.
    pub fn at(number: usize) -> Prompt {
        let mut rest = number % (ALL + OF_A_COLOR);
        let mut places = [0; 4];
        for (place, count) in places.iter_mut().zip(COUNTS).skip(1).rev() {
            *place = rest % count;
            rest /= count;
        }
        places[0] = rest;
        Prompt { places }
    }

    /// Its place in that list.
    pub fn number(&self) -> usize {
        self.places.iter().zip(COUNTS).fold(0, |number, (place, count)| number * count + place)
    }

    pub fn color(&self) -> &'static str {
        self.named_color().0
    }

    /// The color, and what it looks like.
    pub fn named_color(&self) -> Named {
        COLORS.get(self.places[0]).copied().unwrap_or(PINK)
    }

    pub fn shape(&self) -> &'static str {
        SHAPES[self.places[1]]
    }

    pub fn direction(&self) -> &'static str {
        DIRECTIONS[self.places[2]].0
    }

    pub fn background(&self) -> &'static str {
        BACKGROUNDS[self.places[3]].0
    }

    /// Color, shape, direction, background.
    pub fn words(&self) -> [&'static str; 4] {
        [self.color(), self.shape(), self.direction(), self.background()]
    }
}

impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [color, shape, direction, background] = self.words();
        write!(f, "a {color} {shape} moves {direction} on a {background} background")
    }
}

impl FromStr for Prompt {
    type Err = String;

    fn from_str(text: &str) -> Result<Prompt, String> {
        let known = (0..ALL + OF_A_COLOR).map(Prompt::at).find(|prompt| prompt.to_string() == text);
        known.ok_or_else(|| {
            format!(
                "prompt: expected \"{}\" or another color, shape, direction or background of the \
                 demo model, found {text:?}",
                Prompt::at(0)
            )
        })
    }
}

/// `count` different prompts in which every word comes up as often as any other of its kind, as
/// far as `count` allows, and pairs of words as evenly as choosing one prompt after another
/// gets. The first prompts of a longer sample are the shorter sample. 24 hold every color once
/// with every direction and with every background, and every shape twice with every direction.
pub fn even_sample(count: usize) -> Vec<Prompt> {
    let mut left: Vec<Prompt> = (0..ALL).map(Prompt::at).collect();
    let mut taken: Vec<Prompt> = Vec::new();
    while taken.len() < count.min(ALL) {
        // The smaller the better, compared in this order: how often its words have come up, how
        // often its pairs of words have; then the place in the list.
        let cost = |prompt: &Prompt| {
            let shared = |kinds: &[usize]| {
                let has = |other: &&Prompt| {
                    kinds.iter().all(|&kind| other.places[kind] == prompt.places[kind])
                };
                taken.iter().filter(has).count()
            };
            let words: usize = (0..4).map(|kind| shared(&[kind]) * COUNTS[kind]).sum();
            let pairs: usize = (0..4)
                .flat_map(|a| (0..a).map(move |b| [a, b]))
                .map(|kinds| shared(&kinds) * COUNTS[kinds[0]] * COUNTS[kinds[1]])
                .sum();
            (words, pairs)
        };
        let Some((best, _)) = left.iter().enumerate().min_by_key(|(_, prompt)| cost(prompt)) else {
            break;
        };
        taken.push(left.remove(best));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn prompts_are_numbered_and_read_back() {
        assert_eq!(Prompt::at(0).to_string(), "a red ball moves right on a black background");
        assert_eq!(
            Prompt::at(287).to_string(),
            "a purple triangle moves down on a brown background"
        );
        assert_eq!(Prompt::at(288).to_string(), "a pink ball moves right on a black background");
        for number in 0..ALL + OF_A_COLOR {
            let prompt = Prompt::at(number);
            assert_eq!(prompt.number(), number);
            assert_eq!(prompt.to_string().parse(), Ok(prompt));
        }
        for wrong in ["a red ball", "a teal ball moves right on a navy background"] {
            assert!(wrong.parse::<Prompt>().unwrap_err().contains(wrong));
        }
    }

    fn most_and_least(prompts: &[Prompt], kinds: &[usize]) -> (usize, usize) {
        let mut counts: HashMap<Vec<usize>, usize> = HashMap::new();
        for prompt in prompts {
            *counts.entry(kinds.iter().map(|&kind| prompt.places[kind]).collect()).or_default() +=
                1;
        }
        let all: usize = kinds.iter().map(|&kind| COUNTS[kind]).product();
        let least = if counts.len() < all { 0 } else { *counts.values().min().unwrap() };
        (*counts.values().max().unwrap(), least)
    }

    #[test]
    fn samples_are_even() {
        for count in [12, 24, 48, 96, 288] {
            let prompts = even_sample(count);
            let different: HashSet<usize> = prompts.iter().map(Prompt::number).collect();
            assert_eq!((prompts.len(), different.len()), (count, count));
            for (kind, words) in COUNTS.into_iter().enumerate() {
                let each = count / words;
                assert_eq!(most_and_least(&prompts, &[kind]), (each, each), "{count}: {kind}");
            }
        }
        let prompts = even_sample(24);
        for (kinds, each) in [([0, 2], 1), ([0, 3], 1), ([1, 2], 2)] {
            assert_eq!(most_and_least(&prompts, &kinds), (each, each), "kinds {kinds:?}");
        }
        for a in 0..4 {
            for b in 0..a {
                let (most, least) = most_and_least(&prompts, &[a, b]);
                assert!(most - least <= 2, "kinds {a} and {b}: {most} and {least}");
            }
        }
        assert_eq!(even_sample(24)[..12], even_sample(12));
        assert_eq!(even_sample(1000).len(), 288);
    }
}
