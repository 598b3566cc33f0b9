//! H.264 by OpenH264, silent, on the calling thread, at a quality near the original.

use super::yuv::Yuv420;
use super::Clip;
use crate::runtime::shim::spare::{without_bad_alloc, Spare};
use crate::{Error, Result};
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile,
    QpRange, RateControlMode, UsageType, VuiConfig,
};
use openh264::formats::YUVSource;
use openh264::{OpenH264API, Timestamp};

/// OpenH264 knows levels up to 5.2.
pub const LONGER_SIDE: usize = 3840;
pub const SHORTER_SIDE: usize = 2160;
/// OpenH264 rejects smaller pictures than one macroblock.
pub const SMALLEST_SIDE: usize = 16;
/// The target is generous, so that the quantiser's range decides.
const BITS_PER_PIXEL: f64 = 1.0;
const FINEST_QUANTISER: u8 = 8;
/// The coarsest quantiser, which is the one mostly used: at 20, artefacts are below what one
/// sees. OpenH264's buffers don't hold pictures like noise at that quality; then it fails,
/// and the clip is encoded anew with the next one.
const COARSEST_QUANTISERS: [u8; 4] = [20, 28, 36, 51];
/// A key frame every so often, for seeking.
const KEY_FRAME_EVERY: u32 = 48;

/// `ENCODER_OPTION_TRACE_LEVEL` and `WELS_LOG_QUIET` of codec_app_def.h.
const OPTION_TRACE_LEVEL: i32 = 25;
const TRACE_QUIET: i32 = 0;

/// A clip as H.264.
pub struct H264 {
    /// Sides of the coded picture: those of the clip, made even.
    pub width: usize,
    pub height: usize,
    pub sps: Vec<u8>,
    pub pps: Vec<u8>,
    pub frames: Vec<Frame>,
}

/// One coded picture: its NAL units, each with its length before it in 4 bytes, big-endian.
pub struct Frame {
    pub key: bool,
    pub data: Vec<u8>,
}

impl YUVSource for Yuv420 {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }
    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }
    fn y(&self) -> &[u8] {
        &self.y
    }
    fn u(&self) -> &[u8] {
        &self.u
    }
    fn v(&self) -> &[u8] {
        &self.v
    }
}

/// Encodes `clip`, tagged as BT.709 limited range.
pub fn encode(clip: &Clip, fps: f64) -> Result<H264> {
    let mut picture = Yuv420::for_clip(clip);
    let (width, height) = (picture.width, picture.height);
    if width.max(height) > LONGER_SIDE
        || width.min(height) > SHORTER_SIDE
        || width.min(height) < SMALLEST_SIDE
    {
        return Err(Error::InvalidArgument(format!(
            "an .mp4 may have sides from {SMALLEST_SIDE} to {LONGER_SIDE}x{SHORTER_SIDE}, \
             found {width}x{height}"
        )));
    }
    // What it could not have in the middle it would go on without, to a crash or to other bytes.
    let _spare = Spare::hold().ok_or_else(no_memory)?;
    let mut last = failed("no quantiser".into());
    for coarsest in COARSEST_QUANTISERS {
        // OpenH264 says of a picture that is too much for it what it says of memory that is out.
        // The second time it is the picture, or memory is out still, which is told.
        for _ in 0..2 {
            let coded = without_bad_alloc(|| encode_at(clip, fps, &mut picture, coarsest));
            match coded {
                Some(Ok(coded)) => return Ok(coded),
                Some(Err(error @ Error::OutOfMemory(_))) => return Err(error),
                Some(Err(error)) => last = error,
                None => last = no_memory(),
            }
        }
        if matches!(last, Error::OutOfMemory(_)) {
            break;
        }
    }
    Err(last)
}

fn encode_at(clip: &Clip, fps: f64, picture: &mut Yuv420, coarsest: u8) -> Result<H264> {
    let (width, height) = (picture.width, picture.height);
    let mut encoder = silent_encoder(width, height, fps, coarsest)?;
    let mut coded = H264 { width, height, sps: Vec::new(), pps: Vec::new(), frames: Vec::new() };
    for (index, frame) in clip.frames().enumerate() {
        picture.set(clip, frame);
        let milliseconds = (index as f64 * 1000.0 / fps).round() as u64;
        let stream = encoder
            .encode_at(picture, Timestamp::from_millis(milliseconds))
            .map_err(|error| failed(format!("frame {index}: {error}")))?;
        let key = matches!(stream.frame_type(), FrameType::IDR);
        let mut data = Vec::new();
        for layer in (0..stream.num_layers()).filter_map(|index| stream.layer(index)) {
            for unit in (0..layer.nal_count()).filter_map(|index| layer.nal_unit(index)) {
                coded.take(without_start_code(unit), &mut data)?;
            }
        }
        if data.is_empty() {
            return Err(failed(format!("frame {index} came out empty")));
        }
        coded.frames.push(Frame { key, data });
    }
    if coded.sps.len() < 4 || coded.pps.is_empty() {
        return Err(failed("no parameter sets came out".into()));
    }
    Ok(coded)
}

impl H264 {
    /// Sorts a NAL unit: parameter sets belong to the file's header, all else to the frame.
    fn take(&mut self, unit: &[u8], frame: &mut Vec<u8>) -> Result<()> {
        match unit.first().map(|header| header & 0x1f) {
            Some(7) => self.sps = unit.to_vec(),
            Some(8) => self.pps = unit.to_vec(),
            Some(_) => {
                let length = u32::try_from(unit.len())
                    .map_err(|_| failed("a unit of more than 4 GiB".into()))?;
                frame.extend_from_slice(&length.to_be_bytes());
                frame.extend_from_slice(unit);
            }
            None => {}
        }
        Ok(())
    }
}

fn silent_encoder(width: usize, height: usize, fps: f64, coarsest: u8) -> Result<Encoder> {
    let bits_per_second = (width * height) as f64 * fps * BITS_PER_PIXEL;
    let config = EncoderConfig::new()
        .usage_type(UsageType::CameraVideoRealTime)
        .rate_control_mode(RateControlMode::Quality)
        .bitrate(BitRate::from_bps(bits_per_second.clamp(1e6, 1e8) as u32))
        .max_frame_rate(FrameRate::from_hz(fps as f32))
        .qp(QpRange::new(FINEST_QUANTISER, coarsest))
        .complexity(Complexity::High)
        .profile(Profile::High)
        .intra_frame_period(IntraFramePeriod::from_num_frames(KEY_FRAME_EVERY))
        .skip_frames(false)
        .num_threads(1)
        .vui(VuiConfig::bt709());
    prove_headroom(width, height)?;
    let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config)
        .map_err(|error| failed(error.to_string()))?;
    let mut quiet = TRACE_QUIET;
    // OpenH264 writes warnings to stderr while it is initialised, which is before the crate
    // turns its trace off.
    // SAFETY: this option is allowed before initialisation, reads one int and keeps no
    // pointer; the encoder's parameters stay as they are.
    let status = unsafe {
        encoder.raw_api().set_option(OPTION_TRACE_LEVEL, std::ptr::from_mut(&mut quiet).cast())
    };
    if status != 0 {
        return Err(failed(format!("trace level refused with {status}")));
    }
    Ok(encoder)
}

/// [`Error::OutOfMemory`] where the encoder's own buffers would not find room: OpenH264 makes
/// its objects with C++'s `new`, whose exception nothing may let through here. Pictures of 512x512
/// were seen to need no more than what is asked for here.
fn prove_headroom(width: usize, height: usize) -> Result<()> {
    const LEAST: usize = 4 << 20;
    let needed = width.saturating_mul(height).saturating_mul(30).saturating_add(LEAST);
    let mut room: Vec<u8> = Vec::new();
    room.try_reserve_exact(needed)
        .map_err(|_| Error::OutOfMemory(format!("no {needed} bytes for the H.264 encoder")))?;
    // So that the allocation is not left out as one that nobody uses.
    std::hint::black_box(room.as_ptr());
    Ok(())
}

/// A NAL unit without the 00 00 01 or 00 00 00 01 in front of it.
fn without_start_code(unit: &[u8]) -> &[u8] {
    let zeros = unit.iter().take_while(|&&byte| byte == 0).count();
    match unit.get(zeros) {
        Some(1) if zeros >= 2 => unit.get(zeros + 1..).unwrap_or_default(),
        _ => unit,
    }
}

fn no_memory() -> Error {
    Error::OutOfMemory("the host's memory is out: the H.264 encoder has none".into())
}

fn failed(what: String) -> Error {
    Error::Internal(format!("H.264 encoder: {what}"))
}
