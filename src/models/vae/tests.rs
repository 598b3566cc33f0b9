//! The ways of computing against each other; against diffusers see `tests/models_vae.rs`.

use super::*;
use crate::checkpoint::WeightStore;
use crate::runtime::{CancelToken, DType, Progress};
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use tch::{Device, Kind};

/// The decoder of the tests' 2b pipeline.
fn load(dtype: DType, backend: Backend) -> VaeDecoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/2b/vae");
    let config = VaeConfig::read(&folder.join("config.json"), &mut Vec::new()).unwrap();
    let placement = Placement { device: Device::Cpu, dtype };
    let (stem, control) = ("diffusion_pytorch_model", Control::default());
    let store = WeightStore::open(&folder, stem, None, placement, &control).unwrap();
    let decoder = VaeDecoder::load_for(&config, &store.root(), backend).unwrap();
    store.finish(UNUSED_PREFIXES).unwrap();
    decoder
}

fn latents(shape: [i64; 5]) -> Tensor {
    let count: i64 = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
    Tensor::f_from_slice(&values).unwrap().f_view(shape).unwrap()
}

fn decode(decoder: &VaeDecoder, latents: &Tensor, tiling: Option<Tiling>) -> Tensor {
    let options = DecodeOptions { tiling, slicing: false };
    decoder.decode(latents, &options, &Control::default()).unwrap()
}

fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let (found, expected) = (found.to_kind(Kind::Float), expected.to_kind(Kind::Float));
    (&found - &expected).abs().max().double_value(&[]) / expected.abs().max().double_value(&[])
}

#[test]
fn kernels_and_libtorch_agree() {
    let (fused, aten) = (load(DType::F32, Backend::Fused), load(DType::F32, Backend::Aten));
    for frames in [1, 2, 5] {
        let z = latents([1, 4, frames, 3, 5]);
        let error = relative_error(&decode(&fused, &z, None), &decode(&aten, &z, None));
        assert!(error < 5e-6, "{frames} latent frames: {error}");
    }
}

#[test]
fn half_precision_is_near() {
    let z = latents([1, 4, 3, 3, 4]);
    let expected = decode(&load(DType::F32, Backend::Fused), &z, None);
    // Some forty layers, each of which rounds to 11 or 8 bits.
    for (dtype, bound) in [(DType::F16, 0.01), (DType::BF16, 0.08)] {
        let found = decode(&load(dtype, Backend::Aten), &z, None);
        assert_eq!(found.kind(), dtype.kind());
        let error = relative_error(&found, &expected);
        assert!(error < bound, "{dtype:?}: {error}");
    }
}

#[test]
fn slabs_of_any_size_give_the_same_frames() {
    let z = latents([1, 4, 5, 2, 3]);
    for backend in [Backend::Fused, Backend::Aten] {
        let mut decoder = load(DType::F32, backend.clone());
        let expected = decode(&decoder, &z, None);
        // From one frame at a time, which moves frames in the padded input every few, to some.
        for (slab, padded) in [(1, 1), (1, 40_000), (20_000, 20_000), (50_000, 90_000)] {
            decoder.limits = Limits { slab, padded };
            let error = relative_error(&decode(&decoder, &z, None), &expected);
            assert!(error < 2e-6, "{backend:?}, {slab}, {padded}: {error}");
        }
    }
}

#[test]
fn chunks_come_in_order_and_progress_counts_them() {
    let decoder = load(DType::F32, Backend::Fused);
    let z = latents([2, 4, 5, 2, 3]);
    let tiling = Tiling {
        tile_sample_min_height: Some(16),
        tile_sample_min_width: Some(16),
        tile_overlap_factor_height: Some(0.5),
        tile_overlap_factor_width: Some(0.5),
    };
    for (tiling, tiles) in [(None, 1), (Some(tiling), 6)] {
        let whole = decode(&decoder, &z, tiling);
        let reports = Arc::new(Mutex::new(Vec::new()));
        let kept = reports.clone();
        let control = Control {
            progress: Some(Arc::new(move |progress: &Progress| {
                kept.lock().push((progress.done, progress.total));
                ControlFlow::Continue(())
            })),
            ..Control::default()
        };
        let mut chunks = Vec::new();
        let options = DecodeOptions { tiling, slicing: true };
        decoder
            .decode_chunks(&z, &options, &control, &mut |chunk| {
                let count = chunk.frames.size()[2];
                let expected = whole.narrow(0, chunk.video, 1).narrow(2, chunk.first_frame, count);
                assert!(relative_error(&chunk.frames, &expected) < 1e-6);
                chunks.push((chunk.video, chunk.first_frame, count));
                Ok(())
            })
            .unwrap();
        assert_eq!(chunks, [(0, 0, 9), (0, 9, 8), (1, 0, 9), (1, 9, 8)]);
        let total = 2 * 2 * tiles;
        let expected: Vec<(u64, u64)> = (1..=total).map(|done| (done, total)).collect();
        assert_eq!(*reports.lock(), expected);
    }
}

#[test]
fn a_sink_or_a_token_ends_the_work() {
    let decoder = load(DType::F32, Backend::Fused);
    let z = latents([1, 4, 7, 2, 2]);
    let options = DecodeOptions::default();
    let mut chunks = 0;
    let full = decoder.decode_chunks(&z, &options, &Control::default(), &mut |_| {
        chunks += 1;
        Err(Error::Io("disk full".into()))
    });
    assert_eq!((full, chunks), (Err(Error::Io("disk full".into())), 1));

    let token = CancelToken::default();
    let control = Control { cancel: Some(token.clone()), ..Control::default() };
    let mut chunks = 0;
    let cancelled = decoder.decode_chunks(&z, &options, &control, &mut |_| {
        chunks += 1;
        token.cancel();
        Ok(())
    });
    assert!(matches!(cancelled, Err(Error::Cancelled(_))), "{cancelled:?}");
    assert_eq!(chunks, 1);
}

#[test]
fn latents_and_tiles_that_do_not_fit_are_errors() {
    let decoder = load(DType::F32, Backend::Fused);
    let try_decode = |shape: &[i64], tiling: Option<Tiling>| {
        let z = Tensor::zeros([1], (Kind::Float, Device::Cpu)).expand(shape, false);
        let options = DecodeOptions { tiling, slicing: false };
        match decoder.decode(&z, &options, &Control::default()) {
            Err(Error::InvalidArgument(message)) => message,
            other => panic!("{other:?}"),
        }
    };
    let message = try_decode(&[1, 5, 1, 2, 2], None);
    assert!(message.contains("4 channels") && message.contains("[1, 5, 1, 2, 2]"), "{message}");
    try_decode(&[4, 1, 2, 2], None);
    try_decode(&[1, 4, 0, 2, 2], None);
    let huge = |frames| decoder.output_shape(&[1, 4, frames, 1, 1]);
    assert!(matches!(huge(1 << 62), Err(Error::InvalidArgument(_))));
    assert!(matches!(huge(1 << 55), Err(Error::OutOfMemory(_))));
    let factor = |factor| Tiling { tile_overlap_factor_width: Some(factor), ..Tiling::default() };
    for bad in [1.0, -0.1, f64::NAN] {
        let message = try_decode(&[1, 4, 1, 2, 2], Some(factor(bad)));
        assert!(message.contains("tile_overlap_factor_width"), "{message}");
    }
    let tiny = Tiling { tile_sample_min_height: Some(7), ..Tiling::default() };
    assert!(try_decode(&[1, 4, 1, 2, 2], Some(tiny)).contains("tile_sample_min_height"));
}

#[test]
fn tiles_that_diffusers_would_put_together_wrongly_are_mended_and_logged() {
    let decoder = load(DType::F32, Backend::Fused);
    let z = latents([1, 4, 1, 8, 3]);
    let tiling = Tiling { tile_sample_min_height: Some(32), ..Tiling::default() };
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = log.clone();
    let control = Control {
        log: Some(Arc::new(move |level: LogLevel, text: &str| {
            kept.lock().push((level, text.to_string()));
        })),
        ..Control::default()
    };
    let options = DecodeOptions { tiling: Some(tiling), slicing: false };
    let frames = decoder.decode(&z, &options, &control).unwrap();
    assert_eq!(frames.size(), [1, 3, 1, 64, 24]);
    assert_eq!(log.lock().len(), 1);
    assert_eq!(log.lock()[0].0, LogLevel::Info);
}

/// The encoder of the tests' 1.5 image-to-video pipeline.
fn load_encoder(dtype: DType, backend: Backend) -> VaeEncoder {
    load_encoder_for(Content::Videos, dtype, backend)
}

fn load_encoder_for(content: Content, dtype: DType, backend: Backend) -> VaeEncoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/1.5-5b-i2v/vae");
    let config = VaeConfig::read(&folder.join("config.json"), &mut Vec::new()).unwrap();
    let placement = Placement { device: Device::Cpu, dtype };
    let (stem, control) = ("diffusion_pytorch_model", Control::default());
    let store = WeightStore::open(&folder, stem, None, placement, &control).unwrap();
    let encoder = VaeEncoder::load_for(&config, &store.root(), content, backend).unwrap();
    store.finish(&["decoder"]).unwrap();
    encoder
}

fn encode(encoder: &VaeEncoder, frames: &Tensor, tiling: Option<&Tiling>) -> Tensor {
    encoder.encode(frames, tiling, &Control::default()).unwrap().mean
}

#[test]
fn encoders_of_kernels_and_of_libtorch_agree_and_half_precision_is_near() {
    let fused = load_encoder(DType::F32, Backend::Fused);
    let aten = load_encoder(DType::F32, Backend::Aten);
    for frames in [1, 2, 9] {
        let x = latents([1, 3, frames, 24, 40]);
        let expected = encode(&aten, &x, None);
        let error = relative_error(&encode(&fused, &x, None), &expected);
        assert!(error < 5e-6, "{frames} frames: {error}");
        for (dtype, bound) in [(DType::F16, 0.01), (DType::BF16, 0.08)] {
            let found = encode(&load_encoder(dtype, Backend::Aten), &x, None);
            assert_eq!(found.kind(), dtype.kind());
            let error = relative_error(&found, &expected);
            assert!(error < bound, "{dtype:?}, {frames} frames: {error}");
        }
    }
}

/// The taps of a kernel through time, added up, are one of an image.
#[test]
fn an_encoder_for_images_gives_what_one_for_videos_gives() {
    let x = latents([2, 3, 1, 40, 24]);
    let tiling = Tiling { tile_sample_min_height: Some(24), ..Tiling::default() };
    for backend in [Backend::Fused, Backend::Aten] {
        let for_images = load_encoder_for(Content::Images, DType::F32, backend.clone());
        let for_videos = load_encoder(DType::F32, backend.clone());
        for tiling in [None, Some(&tiling)] {
            let (found, expected) =
                (encode(&for_images, &x, tiling), encode(&for_videos, &x, tiling));
            let error = relative_error(&found, &expected);
            assert!(error < 5e-6, "{backend:?}, {tiling:?}: {error}");
        }
        let refused = for_images.encode(&latents([1, 3, 2, 16, 16]), None, &Control::default());
        assert!(matches!(refused, Err(Error::InvalidArgument(m)) if m.contains("found 2")));
    }
}

#[test]
fn slabs_of_any_size_give_the_same_latents() {
    let x = latents([1, 3, 17, 16, 24]);
    for backend in [Backend::Fused, Backend::Aten] {
        let mut encoder = load_encoder(DType::F32, backend.clone());
        let expected = encode(&encoder, &x, None);
        for (slab, padded) in [(1, 1), (1, 40_000), (20_000, 20_000), (50_000, 90_000)] {
            encoder.limits = Limits { slab, padded };
            let error = relative_error(&encode(&encoder, &x, None), &expected);
            assert!(error < 2e-6, "{backend:?}, {slab}, {padded}: {error}");
        }
    }
}

#[test]
fn encoding_counts_its_tiles_and_ends_when_it_is_cancelled() {
    let encoder = load_encoder(DType::F32, Backend::Fused);
    let x = latents([1, 3, 1, 48, 40]);
    let tiling = Tiling {
        tile_sample_min_height: Some(32),
        tile_sample_min_width: Some(32),
        tile_overlap_factor_height: Some(0.5),
        tile_overlap_factor_width: Some(0.5),
    };
    let token = CancelToken::default();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let (kept, cancel) = (reports.clone(), token.clone());
    let control = Control {
        cancel: Some(token),
        progress: Some(Arc::new(move |progress: &Progress| {
            kept.lock().push((progress.stage, progress.done, progress.total));
            if progress.done == 4 {
                cancel.cancel();
            }
            ControlFlow::Continue(())
        })),
        ..Control::default()
    };
    let cancelled = encoder.encode(&x, Some(&tiling), &control);
    assert!(matches!(cancelled, Err(Error::Cancelled(_))), "{cancelled:?}");
    let expected: Vec<_> = (1..=4).map(|done| (Stage::EncodeImage, done, 9)).collect();
    assert_eq!(*reports.lock(), expected);
}

#[test]
fn frames_and_configs_that_cannot_be_encoded_are_errors() {
    let encoder = load_encoder(DType::F32, Backend::Fused);
    for shape in [[1, 4, 1, 16, 16], [1, 3, 0, 16, 16], [1, 3, 1, 7, 16], [1, 3, 1, 16, 7]] {
        let x = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let error = encoder.encode(&x, None, &Control::default()).unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(m) if m.contains(&format!("{shape:?}"))));
    }
    // Rounding would make latents of another size of these tiles.
    let tiling = Tiling { tile_sample_min_height: Some(32), ..Tiling::default() };
    assert_eq!(encode(&encoder, &latents([1, 3, 1, 64, 24]), Some(&tiling)).size()[3..], [8, 3]);
    let tiny = Tiling { tile_sample_min_width: Some(7), ..Tiling::default() };
    let found = VaeEncoder::check_tiles(&encoder.config, &tiny, 16, 16);
    assert!(matches!(found, Err(Error::InvalidArgument(m)) if m.contains("tile_sample_min_width")));
}
