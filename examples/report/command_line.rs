//! What the program is asked to do.

use crate::machine::Clock;
use crate::prompts;
use std::path::PathBuf;

pub const HELP: &str = "\
report caching: what caching costs and saves, on an even sample of the demo model's prompts
report judge:   how many of the demo model's prompts are fulfilled, uncached
report judge-image-to-video: the same, from drawn pictures that no training saw
report judge-lora: the pink prompts, which the demo model needs its adapter for

  --model DIR     pipeline folder (default examples/demo-model/pipeline, and image-to-video
                  beside it for judge-image-to-video)
  --lora DIR      judge-lora: the adapter (default examples/demo-model/lora-pink)
  --prompts N     how many of the 288 prompts, judge-lora of the 48 pink ones (default caching 24,
                  otherwise all)
  --seeds N       clips of each prompt (default caching 1, judge 3)
  --steps N       denoising steps (default the model's)
  --output DIR    existing folder for what is written (default docs)
  --readme FILE   caching: also put the short table between this file's markers
  --processor-time  caching: time by the processor time of the program, not by the clock on the
                  wall: for a machine that is busy with other work (with OMP_NUM_THREADS=1)
  --at-least N    all but caching: fail if fewer than N percent of the clips are fulfilled
  --quick         2 prompts, 1 clip of each, 8 steps, unless said otherwise: to see that it works

The seed of clip k, from 0, of prompt p, from 0 in the order of the 288, is 1000 k + p; the pink
ones follow from 288 on.
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Caching,
    Judge,
    JudgeImageToVideo,
    JudgeLora,
}

impl Task {
    const ALL: [(&'static str, Task); 4] = [
        ("caching", Task::Caching),
        ("judge", Task::Judge),
        ("judge-image-to-video", Task::JudgeImageToVideo),
        ("judge-lora", Task::JudgeLora),
    ];

    fn judges(self) -> bool {
        self != Task::Caching
    }

    fn model(self) -> &'static str {
        match self {
            Task::JudgeImageToVideo => "examples/demo-model/image-to-video",
            _ => "examples/demo-model/pipeline",
        }
    }

    /// How many prompts there are.
    fn prompts(self) -> usize {
        match self {
            Task::JudgeLora => prompts::OF_A_COLOR,
            _ => prompts::ALL,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub model: PathBuf,
    pub lora: PathBuf,
    pub prompts: usize,
    pub seeds: usize,
    /// `None`: the model's own.
    pub steps: Option<i32>,
    pub output: PathBuf,
    pub readme: Option<PathBuf>,
    pub clock: Clock,
    /// Percent.
    pub at_least: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub task: Task,
    pub options: Options,
}

/// The command, `None` if help is asked for, or one line about what is wrong.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Command>, String> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next();
    let known = Task::ALL.into_iter().find(|(name, _)| first.as_deref() == Some(*name));
    let task = match (known, first.as_deref()) {
        (Some((_, task)), _) => task,
        (None, Some("--help")) => return Ok(None),
        (None, other) => {
            let found = other.map_or("nothing".to_string(), |text| format!("{text:?}"));
            let names = Task::ALL.map(|(name, _)| name).join(", ");
            return Err(format!("expected one of {names}, found {found} (see --help)"));
        }
    };
    let (mut prompts, mut seeds, mut quick) = (None, None, false);
    let mut options = Options {
        model: task.model().into(),
        lora: "examples/demo-model/lora-pink".into(),
        prompts: 0,
        seeds: 0,
        steps: None,
        output: "docs".into(),
        readme: None,
        clock: Clock::Wall,
        at_least: 0.0,
    };
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--help" => return Ok(None),
            "--quick" => {
                quick = true;
                continue;
            }
            "--processor-time" if task == Task::Caching => {
                options.clock = Clock::Processor;
                continue;
            }
            _ => {}
        }
        let value = arguments.next().ok_or(format!("{name}: needs a value, or is no option"))?;
        match (task, name.as_str()) {
            (_, "--model") => options.model = value.into(),
            (_, "--prompts") => prompts = Some(whole(&name, &value, task.prompts())?),
            (_, "--seeds") => seeds = Some(whole(&name, &value, 1000)?),
            (_, "--steps") => options.steps = Some(whole(&name, &value, 1000)? as i32),
            (_, "--output") => options.output = value.into(),
            (Task::Caching, "--readme") => options.readme = Some(value.into()),
            (Task::JudgeLora, "--lora") => options.lora = value.into(),
            (_, "--at-least") if task.judges() => {
                options.at_least = whole(&name, &value, 100)? as f64
            }
            _ => return Err(format!("{name}: no such option of {task:?} (see --help)")),
        }
    }
    let [usual_prompts, usual_seeds] = match (quick, task) {
        (true, _) => [2, 1],
        (false, Task::Caching) => [24, 1],
        (false, _) => [task.prompts(), 3],
    };
    options.prompts = prompts.unwrap_or(usual_prompts);
    options.seeds = seeds.unwrap_or(usual_seeds);
    options.steps = options.steps.or(quick.then_some(8));
    Ok(Some(Command { task, options }))
}

fn whole(name: &str, value: &str, most: usize) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or(format!("{name}: expected a whole number from 1 to {most}, found {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Command>, String> {
        parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn commands() {
        let options = |line| parsed(line).unwrap().unwrap().options;
        let usual = options("caching");
        assert_eq!((usual.prompts, usual.seeds, usual.steps), (24, 1, None));
        let usual = options("judge");
        assert_eq!((usual.prompts, usual.seeds, usual.steps), (288, 3, None));
        let quick = options("caching --quick --prompts 3");
        assert_eq!((quick.prompts, quick.seeds, quick.steps), (3, 1, Some(8)));
        assert_eq!((usual.clock, quick.clock), (Clock::Wall, Clock::Wall));
        assert_eq!(options("caching --processor-time --steps 3").clock, Clock::Processor);
        assert_eq!(options("judge --at-least 90 --steps 20").at_least, 90.0);
        let usual = options("judge-image-to-video");
        assert_eq!(
            (usual.prompts, usual.model),
            (288, "examples/demo-model/image-to-video".into())
        );
        let usual = options("judge-lora --lora a.safetensors");
        assert_eq!((usual.prompts, usual.lora), (48, "a.safetensors".into()));
        assert_eq!(options("caching --readme R.md").readme, Some("R.md".into()));
        assert_eq!(parsed("judge --help"), Ok(None));
        for (line, words) in [
            ("", "found nothing"),
            ("cache", "\"cache\""),
            ("caching --steps", "--steps: needs a value"),
            ("caching --steps 0", "from 1 to 1000, found \"0\""),
            ("judge --prompts 289", "from 1 to 288"),
            ("judge-lora --prompts 49", "from 1 to 48"),
            ("judge --lora a", "--lora: no such option"),
            ("judge --processor-time 5", "--processor-time: no such option"),
            ("caching --at-least 5", "--at-least: no such option"),
        ] {
            let message = parsed(line).unwrap_err();
            assert!(message.contains(words), "{line}: {message}");
        }
    }
}
