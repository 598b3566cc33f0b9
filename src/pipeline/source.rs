//! What a run begins with, beside its prompt: each task needs inputs of its own and takes no others.

use super::GenerateOptions;
use crate::checkpoint::folder::Task;
use crate::checkpoint::PipelineFolder;
use crate::image::{Clip, Image, Mask};
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
    /// A video to follow.
    Control(&'a Clip),
    /// Parts of a video to keep.
    Parts(Parts<'a>),
}

/// What an inpainting model is given of its video.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parts<'a> {
    Nothing,
    /// The first frame, the last one, or both.
    Ends(Option<&'a Image>, Option<&'a Image>),
    /// What the mask leaves of a video.
    Masked(&'a Clip, &'a Mask),
}

/// The inputs that a run may be given, by their names.
struct Given<'a> {
    image: Option<&'a Image>,
    last_image: Option<&'a Image>,
    video: Option<&'a Clip>,
    mask: Option<&'a Mask>,
    control_video: Option<&'a Clip>,
}

impl<'a> Source<'a> {
    /// Errors: [`Error::InvalidArgument`] for an input that the task needs and that isn't there, and
    /// for one that it does not take.
    pub fn of(folder: &PipelineFolder, options: &'a GenerateOptions) -> Result<Source<'a>> {
        let task = folder.task;
        let given = Given {
            image: options.image.as_deref(),
            last_image: options.last_image.as_deref(),
            video: options.video.as_deref(),
            mask: options.mask.as_deref(),
            control_video: options.control_video.as_deref(),
        };
        let missing = |input: &str| {
            invalid(format!(
                "{input}: expected one, since the pipeline is for {}, found none",
                task.name()
            ))
        };
        let source = match task {
            Task::TextToVideo => {
                given.only(task, &["video"])?;
                given.video.map_or(Source::Prompt, Source::Video)
            }
            Task::ImageToVideo => {
                let image = given.image.ok_or_else(|| missing("image"))?;
                given.only(task, &["image"])?;
                Source::Image(image)
            }
            Task::VideoToVideo => {
                let video = given.video.ok_or_else(|| missing("video"))?;
                given.only(task, &["video"])?;
                Source::Video(video)
            }
            Task::Control => {
                let video = given.control_video.ok_or_else(|| missing("control_video"))?;
                given.only(task, &["control_video"])?;
                Source::Control(video)
            }
            Task::Inpainting => {
                given.only(task, &["image", "last_image", "video", "mask"])?;
                Source::Parts(given.parts()?)
            }
        };
        let video = match source {
            Source::Video(_) | Source::Parts(Parts::Masked(..)) => true,
            Source::Prompt | Source::Image(_) | Source::Control(_) | Source::Parts(_) => false,
        };
        if video && options.latents.is_some() {
            return Err(invalid(
                "latents: expected none beside a video, which the run begins with, found some"
                    .into(),
            ));
        }
        if !video && options.strength.is_some() {
            return Err(invalid("strength: expected none without a video, found one".into()));
        }
        Ok(source)
    }
}

impl<'a> Given<'a> {
    /// An error for what is given and not `taken`.
    fn only(&self, task: Task, taken: &[&str]) -> Result<()> {
        let all = [
            ("image", self.image.is_some()),
            ("last_image", self.last_image.is_some()),
            ("video", self.video.is_some()),
            ("mask", self.mask.is_some()),
            ("control_video", self.control_video.is_some()),
        ];
        match all.iter().find(|(name, there)| *there && !taken.contains(name)) {
            None => Ok(()),
            Some((name, _)) => Err(invalid(format!(
                "{name}: expected none, since the pipeline is for {}, found one",
                task.name()
            ))),
        }
    }

    fn parts(&self) -> Result<Parts<'a>> {
        let (first, last) = (self.image, self.last_image);
        match (self.video, self.mask) {
            (None, None) if first.is_none() && last.is_none() => Ok(Parts::Nothing),
            (None, None) => Ok(Parts::Ends(first, last)),
            (Some(video), Some(mask)) => {
                if let Some(name) = first.map(|_| "image").or(last.map(|_| "last_image")) {
                    return Err(invalid(format!(
                        "{name}: expected none beside a video and its mask, found one"
                    )));
                }
                if mask.count() != 1 && mask.count() != video.count() {
                    return Err(invalid(format!(
                        "mask: expected 1 frame or {}, as many as the video has, found {}",
                        video.count(),
                        mask.count()
                    )));
                }
                Ok(Parts::Masked(video, mask))
            }
            (Some(_), None) => Err(invalid(
                "mask: expected one beside a video, which says what of it is made anew, found none"
                    .into(),
            )),
            (None, Some(_)) => Err(invalid("video: expected one beside a mask, found none".into())),
        }
    }
}

fn invalid(message: String) -> Error {
    Error::InvalidArgument(message)
}
