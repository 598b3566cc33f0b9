//! Which frames go through a network together.
//!
//! The decoder works through a video in groups of two latent frames, the first of which takes
//! the odd one (`_decode`, diffusers 0.42.1 models/autoencoders/autoencoder_kl_cogvideox.py:1179),
//! the encoder in groups of eight frames, the first of which takes what is left over (`_encode`,
//! :1122). Causal convolutions carry the two frames before a group into it.

/// `num_latent_frames_batch_size` (autoencoder_kl_cogvideox.py:1072).
const LATENT_FRAMES_PER_BATCH: i64 = 2;
/// `num_sample_frames_batch_size` (autoencoder_kl_cogvideox.py:1073).
const SAMPLE_FRAMES_PER_BATCH: i64 = 8;

/// A group of a network's frames and those that it makes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub start: i64,
    pub frames: i64,
    pub out_start: i64,
    pub out_frames: i64,
}

/// The groups in which `frames` frames of video, at least one, are encoded, halved `halvings`
/// times. Where their number is odd, each halving leaves the first as it is
/// (`CogVideoXDownsample3D`, diffusers 0.42.1 models/downsampling.py:314).
pub(super) fn sample_batches(frames: i64, halvings: usize) -> Vec<Batch> {
    let halved = |frames: i64| (0..halvings).fold(frames, |n, _| n / 2 + n % 2);
    let remaining = frames % SAMPLE_FRAMES_PER_BATCH;
    let mut batches = Vec::new();
    let (mut start, mut out_start) = (0, 0);
    while start < frames {
        let count = match start {
            0 => SAMPLE_FRAMES_PER_BATCH.min(frames - remaining) + remaining,
            _ => SAMPLE_FRAMES_PER_BATCH,
        };
        let out_frames = halved(count);
        batches.push(Batch { start, frames: count, out_start, out_frames });
        (start, out_start) = (start + count, out_start + out_frames);
    }
    batches
}

/// The groups in which a video is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batches {
    latent_frames: i64,
    /// How often frames are doubled, but for the first of an odd number (`CogVideoXUpsample3D`,
    /// diffusers 0.42.1 models/upsampling.py:390).
    doublings: usize,
}

impl Batches {
    /// `None` where there are no frames or too many to count.
    pub fn new(latent_frames: i64, doublings: usize) -> Option<Batches> {
        let factor = 1i64.checked_shl(u32::try_from(doublings).ok()?).filter(|&f| f > 0)?;
        latent_frames.checked_mul(factor)?;
        (latent_frames > 0).then_some(Batches { latent_frames, doublings })
    }

    pub fn count(&self) -> i64 {
        (self.latent_frames / LATENT_FRAMES_PER_BATCH).max(1)
    }

    /// Frames of the whole video.
    pub fn frames(&self) -> i64 {
        self.frames_of(self.latent_frames)
    }

    pub fn iter(self) -> impl Iterator<Item = Batch> {
        let remaining = self.latent_frames % LATENT_FRAMES_PER_BATCH;
        (0..self.count()).map(move |i| {
            let from = LATENT_FRAMES_PER_BATCH * i + if i == 0 { 0 } else { remaining };
            let to = (LATENT_FRAMES_PER_BATCH * (i + 1) + remaining).min(self.latent_frames);
            let out_start = if from == 0 { 0 } else { self.frames_of(from) };
            let out_frames = self.frames_of(to) - out_start;
            Batch { start: from, frames: to - from, out_start, out_frames }
        })
    }

    /// Frames that the first `latent_frames` become.
    fn frames_of(&self, latent_frames: i64) -> i64 {
        let single = self.latent_frames % 2;
        ((latent_frames - single) << self.doublings) + single
    }
}

/// The latent frame that frame `frame` of `frames` is conditioned on: nearest-neighbour
/// upsampling, of the first frame alone and of the rest where their number is odd
/// (`CogVideoXSpatialNorm3D`, autoencoder_kl_cogvideox.py:180).
pub(super) fn latent_frame(frame: i64, frames: i64, latent_frames: i64) -> i64 {
    if frames > 1 && frames % 2 == 1 {
        match frame {
            0 => 0,
            _ => 1 + (frame - 1) * (latent_frames - 1) / (frames - 1),
        }
    } else {
        frame * latent_frames / frames.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_takes_the_odd_frame() {
        let sizes = |latent_frames| -> Vec<(i64, i64, i64, i64)> {
            let batches = Batches::new(latent_frames, 2).unwrap();
            batches.iter().map(|b| (b.start, b.frames, b.out_start, b.out_frames)).collect()
        };
        assert_eq!(sizes(1), [(0, 1, 0, 1)]);
        assert_eq!(sizes(2), [(0, 2, 0, 8)]);
        assert_eq!(sizes(3), [(0, 3, 0, 9)]);
        assert_eq!(sizes(4), [(0, 2, 0, 8), (2, 2, 8, 8)]);
        assert_eq!(sizes(7), [(0, 3, 0, 9), (3, 2, 9, 8), (5, 2, 17, 8)]);
        assert_eq!(Batches::new(7, 2).unwrap().frames(), 25);
        assert_eq!(Batches::new(7, 0).unwrap().frames(), 7);
        assert_eq!(Batches::new(i64::MAX / 2, 2), None);
        assert_eq!(Batches::new(0, 2), None);
    }

    #[test]
    fn the_first_group_of_samples_takes_what_is_left_over() {
        let sizes = |frames| -> Vec<(i64, i64, i64, i64)> {
            let batches = sample_batches(frames, 2).into_iter();
            batches.map(|b| (b.start, b.frames, b.out_start, b.out_frames)).collect()
        };
        assert_eq!(sizes(1), [(0, 1, 0, 1)]);
        assert_eq!(sizes(3), [(0, 3, 0, 1)]);
        assert_eq!(sizes(8), [(0, 8, 0, 2)]);
        assert_eq!(sizes(9), [(0, 9, 0, 3)]);
        assert_eq!(sizes(25), [(0, 9, 0, 3), (9, 8, 3, 2), (17, 8, 5, 2)]);
    }

    #[test]
    fn odd_videos_keep_their_first_latent_frame_to_themselves() {
        let map = |frames, latent| -> Vec<i64> {
            (0..frames).map(|f| latent_frame(f, frames, latent)).collect()
        };
        assert_eq!(map(1, 1), [0]);
        assert_eq!(map(3, 3), [0, 1, 2]);
        assert_eq!(map(9, 3), [0, 1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(map(8, 2), [0, 0, 0, 0, 1, 1, 1, 1]);
    }
}
