//! What a run begins with, beside its prompt: each task needs inputs of its own and takes no others.

use super::GenerateOptions;
use crate::checkpoint::folder::Task;
use crate::checkpoint::PipelineFolder;
use crate::image::{Clip, Image};
use crate::{Error, Result};

/// The inputs of a run, those of its pipeline's task.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// Nothing but the prompt.
    Prompt,
    /// The first frame.
    Image(&'a Image),
    /// A video to make anew.
    Video(&'a Clip),
}

impl<'a> Source<'a> {
    /// Errors: [`Error::InvalidArgument`] for an input that the task needs and that isn't there, and
    /// for one that it does not take.
    pub fn of(folder: &PipelineFolder, options: &'a GenerateOptions) -> Result<Source<'a>> {
        let task = folder.task;
        let (image, video) = (options.image.as_deref(), options.video.as_deref());
        let source = match (task, image, video) {
            (Task::TextToVideo, None, None) => Source::Prompt,
            (Task::TextToVideo | Task::VideoToVideo, None, Some(video)) => Source::Video(video),
            (Task::ImageToVideo, Some(image), None) => Source::Image(image),
            (Task::ImageToVideo, None, _) => return Err(wrong("image", task, true)),
            (Task::ImageToVideo, Some(_), Some(_)) => return Err(wrong("video", task, false)),
            (Task::VideoToVideo, _, None) => return Err(wrong("video", task, true)),
            (Task::TextToVideo | Task::VideoToVideo, Some(_), _) => {
                return Err(wrong("image", task, false))
            }
        };
        if matches!(source, Source::Video(_)) && options.latents.is_some() {
            return Err(Error::InvalidArgument(
                "latents: expected none beside a video, which the run begins with, found some"
                    .into(),
            ));
        }
        if options.strength.is_some() && !matches!(source, Source::Video(_)) {
            return Err(Error::InvalidArgument(
                "strength: expected none without a video, found one".into(),
            ));
        }
        Ok(source)
    }
}

fn wrong(input: &str, task: Task, expected: bool) -> Error {
    let (expected, found) = if expected { ("one", "none") } else { ("none", "one") };
    let task = task.name();
    Error::InvalidArgument(format!(
        "{input}: expected {expected}, since the pipeline is for {task}, found {found}"
    ))
}
