//! `.mp4`: H.264 with its index at the front, so that it plays while it is still arriving.

use super::h264::{self, H264};
use super::Clip;
use crate::{Error, Result};
use shiguredo_mp4::boxes::{Avc1Box, AvccBox, SampleEntry, UnknownBox, VisualSampleEntryFields};
use shiguredo_mp4::mux::{
    estimate_maximum_moov_box_size, Mp4FileMuxer, Mp4FileMuxerOptions, Sample,
};
use shiguredo_mp4::{BoxSize, BoxType, TrackKind, Uint};
use std::io::Write;
use std::num::NonZeroU32;

/// Ticks per frame. Frame rates are exact to a thousandth.
const TICKS_PER_FRAME: u32 = 1000;

/// Writes `clip` at `fps`, which has been checked.
pub fn write(clip: &Clip, fps: f64, sink: &mut impl Write) -> Result<()> {
    let coded = h264::encode(clip, fps)?;
    let file = mux(&coded, fps)?;
    sink.write_all(&file).map_err(|error| Error::Io(error.to_string()))
}

/// The whole file: coded frames are small beside the clip, which is in memory already.
fn mux(coded: &H264, fps: f64) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| Error::Internal(format!("MP4 writer: {error}"));
    let options = Mp4FileMuxerOptions {
        reserved_moov_box_size: estimate_maximum_moov_box_size(&[coded.frames.len()]),
        ..Default::default()
    };
    let mut muxer = Mp4FileMuxer::with_options(options).map_err(|e| failed(&e))?;
    let timescale = NonZeroU32::new((fps * f64::from(TICKS_PER_FRAME)).round() as u32)
        .unwrap_or(NonZeroU32::MIN);
    let mut entry = Some(sample_entry(coded)?);
    let mut file = muxer.initial_boxes_bytes().to_vec();
    for frame in &coded.frames {
        let sample = Sample {
            track_kind: TrackKind::Video,
            sample_entry: entry.take(),
            keyframe: frame.key,
            timescale,
            duration: TICKS_PER_FRAME,
            composition_time_offset: None,
            data_offset: file.len() as u64,
            data_size: frame.data.len(),
        };
        muxer.append_sample(&sample).map_err(|e| failed(&e))?;
        file.extend_from_slice(&frame.data);
    }
    let finalized = muxer.finalize().map_err(|e| failed(&e))?;
    for (offset, bytes) in finalized.offset_and_bytes_pairs() {
        let offset = usize::try_from(offset).map_err(|e| failed(&e))?;
        let end = offset.checked_add(bytes.len()).ok_or_else(|| failed(&"file too long"))?;
        if file.len() < end {
            file.resize(end, 0);
        }
        file.get_mut(offset..end)
            .ok_or_else(|| failed(&"box outside the file"))?
            .copy_from_slice(bytes);
    }
    Ok(file)
}

fn sample_entry(coded: &H264) -> Result<SampleEntry> {
    let side = |value: usize| {
        u16::try_from(value)
            .map_err(|_| Error::InvalidArgument(format!("an .mp4 side may not be {value}")))
    };
    // The bytes after an SPS's header are profile, constraints and level (ITU-T H.264,
    // 7.3.2.1.1).
    let [profile, constraints, level] = match coded.sps.get(1..4) {
        Some(&[profile, constraints, level]) => [profile, constraints, level],
        _ => return Err(Error::Internal("H.264 encoder: a parameter set is too short".into())),
    };
    // Profiles other than Baseline, Main and Extended say again what their pictures hold
    // (ISO/IEC 14496-15, 5.3.3.1.2): 4:2:0 in 8 bits.
    let extended = !matches!(profile, 66 | 77 | 88);
    Ok(SampleEntry::Avc1(Avc1Box {
        visual: VisualSampleEntryFields {
            data_reference_index: VisualSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
            width: side(coded.width)?,
            height: side(coded.height)?,
            horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
            vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
            frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
            compressorname: [0; 32],
            depth: VisualSampleEntryFields::DEFAULT_DEPTH,
        },
        avcc_box: AvccBox {
            avc_profile_indication: profile,
            profile_compatibility: constraints,
            avc_level_indication: level,
            length_size_minus_one: Uint::new(3),
            sps_list: vec![coded.sps.clone()],
            pps_list: vec![coded.pps.clone()],
            chroma_format: extended.then(|| Uint::new(1)),
            bit_depth_luma_minus8: extended.then(|| Uint::new(0)),
            bit_depth_chroma_minus8: extended.then(|| Uint::new(0)),
            sps_ext_list: Vec::new(),
        },
        unknown_boxes: vec![colour_box()],
    }))
}

/// `colr` of type nclx (ISO/IEC 14496-12, 12.1.5): primaries, transfer and matrix of BT.709,
/// limited range. The stream says so too, but some players only look here.
fn colour_box() -> UnknownBox {
    let payload = [b"nclx".as_slice(), &[0, 1, 0, 1, 0, 1, 0]].concat();
    // The size counts the box's own size and type, 4 bytes each.
    let box_size = BoxSize::U32(8 + payload.len() as u32);
    UnknownBox { box_type: BoxType::Normal(*b"colr"), box_size, payload }
}
