//! Random numbers that belong to one run.

use super::{device, shim};
use crate::Result;
use tch::{Device, Kind, Tensor};

/// A generator of one run, on the CPU whatever the device computes on: the same seed gives
/// the same stream as `torch.Generator().manual_seed(seed)` on that machine, bit for bit, and
/// the generator of the process is never touched, so runs beside each other do not disturb each
/// other.
///
/// Machines with AVX2, with or without AVX-512, draw the same bits. Where libtorch runs without
/// AVX2, as with `ATEN_CPU_CAPABILITY=default`, draws of 16 float32 numbers and more differ from
/// those by a rounding (`normal_fill`, aten/src/ATen/native/cpu/DistributionTemplates.h): no more
/// than the networks' own results differ between those machines.
///
/// Owned by one run and used by one thread at a time (`Send`, not `Sync`).
pub struct Generator {
    /// One for the whole batch, or one for each video.
    streams: Vec<shim::Generator>,
}

impl Generator {
    /// A generator at the start of the stream of `seed`. libtorch's Mersenne Twister takes the
    /// low 32 bits of the seed (ATen/core/MT19937RNGEngine.h), so seeds that differ only above
    /// them give the same stream there and here.
    pub fn new(seed: u64) -> Result<Generator> {
        Generator::each(&[seed])
    }

    /// A generator with a stream for each video, of its own seed; of one seed it is that of
    /// [`Generator::new`].
    pub fn each(seeds: &[u64]) -> Result<Generator> {
        let streams =
            seeds.iter().map(|&seed| shim::Generator::new(seed)).collect::<Result<_>>()?;
        Ok(Generator { streams })
    }

    /// The next standard normal numbers, of `shape`, drawn on the CPU in `kind` (`Float`,
    /// `Half`, `BFloat16` or `Double`) and then moved to `device`: what diffusers'
    /// `randn_tensor` does with a CPU generator (diffusers 0.42.1 utils/torch_utils.py:61).
    ///
    /// The stream depends on the shape and the kind of each draw as it does in torch: under 16
    /// numbers are drawn one by one, more in blocks, and in f16 and bf16 with the arithmetic of
    /// that dtype.
    ///
    /// With a stream for each video, the first side of `shape` is the videos', and each is drawn from
    /// its own, as with a list of generators there.
    ///
    /// Errors: [`crate::Error::OutOfMemory`], and [`crate::Error::Internal`] for a negative
    /// dimension, or where there are other streams than videos.
    pub fn randn(&mut self, shape: &[i64], kind: Kind, device: Device) -> Result<Tensor> {
        let drawn = match (self.streams.as_mut_slice(), shape) {
            ([only], _) => only.randn(shape, kind)?,
            (streams, [videos, rest @ ..]) if *videos == streams.len() as i64 => {
                let one = [&[1], rest].concat();
                let draw = |stream: &mut shim::Generator| stream.randn(&one, kind);
                let parts = streams.iter_mut().map(draw).collect::<Result<Vec<_>>>()?;
                Tensor::f_cat(&parts, 0)?
            }
            (streams, _) => {
                return Err(crate::Error::Internal(format!(
                    "noise of {shape:?} from {} streams",
                    streams.len()
                )))
            }
        };
        device::upload(&drawn, device)
    }

    /// As [`Generator::randn`], for one video alone, counted from 0: from its own stream where each
    /// has one.
    pub fn randn_of(
        &mut self,
        video: usize,
        shape: &[i64],
        kind: Kind,
        device: Device,
    ) -> Result<Tensor> {
        let one = if self.streams.len() == 1 { 0 } else { video };
        let stream = self.streams.get_mut(one).ok_or_else(|| {
            crate::Error::Internal(format!("noise of video {video}, which has no stream"))
        })?;
        device::upload(&stream.randn(shape, kind)?, device)
    }

    /// Where in its stream the generator is: bytes on the CPU, as `torch.Generator.get_state`.
    /// With several streams, one state after another.
    pub fn state(&self) -> Result<Tensor> {
        let states = self.streams.iter().map(|one| one.state()).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&states, 0)?)
    }

    /// Goes to where another generator was: `torch.Generator.set_state`.
    ///
    /// Errors: [`crate::Error::InvalidArgument`] for what is no such state.
    pub fn set_state(&mut self, state: &Tensor) -> Result<()> {
        let streams = self.streams.len() as i64;
        let wrong = |why: String| {
            crate::Error::InvalidArgument(format!(
                "generator: expected the state of {streams}, found {} bytes: {why}",
                state.numel()
            ))
        };
        if state.numel() as i64 % streams != 0 {
            return Err(wrong("they are not as many for each".into()));
        }
        let states = state.f_view([-1])?.f_chunk(streams, 0)?;
        for (stream, state) in self.streams.iter_mut().zip(&states) {
            // libtorch reads from the start of the memory that a view is in.
            let mut own = state.f_empty_like()?;
            own.f_copy_(state)?;
            stream.set_state(&own).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(tensor: &Tensor) -> Vec<u32> {
        let flat = tensor.f_reshape([-1]).unwrap();
        if tensor.kind() == Kind::Float {
            let bits = Vec::<i32>::try_from(flat.f_view_dtype(Kind::Int).unwrap()).unwrap();
            bits.into_iter().map(|b| b as u32).collect()
        } else {
            let bits = Vec::<i16>::try_from(flat.f_view_dtype(Kind::Int16).unwrap()).unwrap();
            bits.into_iter().map(|b| u32::from(b as u16)).collect()
        }
    }

    /// Whether libtorch computes with AVX2 or more here, as where the draws below were made.
    fn vectorised() -> bool {
        let lowered = std::env::var("ATEN_CPU_CAPABILITY").is_ok_and(|c| c == "default");
        std::is_x86_feature_detected!("avx2") && !lowered
    }

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        let flat = tensor.f_reshape([-1]).unwrap().f_to_kind(Kind::Double).unwrap();
        Vec::<f64>::try_from(flat).unwrap()
    }

    fn from_bits(bits: u32, kind: Kind) -> f64 {
        match kind {
            Kind::Half => half::f16::from_bits(bits as u16).to_f64(),
            Kind::BFloat16 => half::bf16::from_bits(bits as u16).to_f64(),
            _ => f64::from(f32::from_bits(bits)),
        }
    }

    /// `drawn` is `expected`: to the bit where libtorch computes with AVX2 or AVX-512, and
    /// elsewhere within a few roundings, since it takes the logarithms, sines and cosines of
    /// another library there.
    fn assert_drawn(drawn: &Tensor, expected: &[u32]) {
        let kind = drawn.kind();
        if vectorised() {
            assert_eq!(bits(drawn), expected, "{:?} {kind:?}", drawn.size());
        }
        let rounding = match kind {
            Kind::Half => 2f64.powi(-10),
            Kind::BFloat16 => 2f64.powi(-7),
            // An angle of up to 2π is rounded before its sine is taken.
            _ => 2f64.powi(-20),
        };
        let found = numbers(drawn);
        assert_eq!(found.len(), expected.len());
        for (found, &expected) in found.iter().zip(expected) {
            let expected = from_bits(expected, kind);
            // The sine and the cosine are rounded near 0 as near 1.
            let most = 2.0 * rounding * expected.abs().max(1.0);
            assert!((found - expected).abs() <= most, "{kind:?}: {found}, {expected}");
        }
    }

    /// A stream for each video draws what a generator of its seed alone draws, and goes on from a state.
    #[test]
    fn each_video_has_a_stream_of_its_own() {
        let shape = [1, 3, 7];
        let alone = |seed| {
            let mut generator = Generator::new(seed).unwrap();
            let draw = |g: &mut Generator| g.randn(&shape, Kind::Float, Device::Cpu).unwrap();
            [draw(&mut generator), draw(&mut generator)]
        };
        let mut both = Generator::each(&[3, 9]).unwrap();
        let first = both.randn(&[2, 3, 7], Kind::Float, Device::Cpu).unwrap();
        let state = both.state().unwrap();
        let mut other = Generator::each(&[1, 2]).unwrap();
        other.set_state(&state).unwrap();
        let second = other.randn(&[2, 3, 7], Kind::Float, Device::Cpu).unwrap();
        for (video, seed) in [3, 9].into_iter().enumerate() {
            for (drawn, expected) in [&first, &second].into_iter().zip(alone(seed)) {
                assert!(drawn.f_narrow(0, video as i64, 1).unwrap().f_equal(&expected).unwrap());
            }
            let third = both.randn_of(video, &shape, Kind::Float, Device::Cpu).unwrap();
            assert!(third.f_equal(&alone(seed)[1]).unwrap());
        }
        assert!(both.randn(&[3, 3, 7], Kind::Float, Device::Cpu).is_err());
        assert!(both.randn_of(2, &shape, Kind::Float, Device::Cpu).is_err());
        let one = Generator::new(3).unwrap().state().unwrap();
        assert!(matches!(both.set_state(&one), Err(crate::Error::InvalidArgument(_))));
    }

    /// Draws in this order from `torch.Generator().manual_seed(42)` of torch 2.11.0.
    const DRAWS: &[(&[i64], Kind, &[u32])] = &[
        (&[5], Kind::Float, &[0x3eac62ae, 0x3e03e69d, 0x3e7016e7, 0x3e6bdc6c, 0xbf8fb9c2]),
        (
            &[17],
            Kind::Float,
            &[
                0xbe7e3737, 0x3dbb7c4a, 0xc0144876, 0xbe5e020f, 0xbfb13cfd, 0xbf5f0955, 0xbe64ba09,
                0x3fdbd280, 0x3ea34448, 0xbd812d24, 0xbf541c22, 0x3ea96b85, 0xbfc75e89, 0x3f7ee202,
                0xbf6139a5, 0xbf19e472, 0xbfa31763,
            ],
        ),
        (
            &[3, 7],
            Kind::Half,
            &[
                0x3a8d, 0x3208, 0xbe13, 0xb5d7, 0xa726, 0xae96, 0xba29, 0xb4b2, 0x2ef2, 0xb2ec,
                0xc297, 0xb181, 0xb618, 0x391d, 0x350f, 0xb7f8, 0x27f7, 0xb739, 0x39ac, 0xbbb0,
                0xbdbe,
            ],
        ),
        (
            &[33],
            Kind::BFloat16,
            &[
                0xc018, 0xbe70, 0x3fc1, 0x3f08, 0xbfe4, 0x3e6a, 0xbf9a, 0x3f26, 0x3fd4, 0xbc95,
                0x3d18, 0xbd0d, 0xbe63, 0x3f56, 0x3f43, 0x3d45, 0xbd75, 0xc023, 0x3f46, 0x3fb1,
                0xbef1, 0x3f88, 0x3fe7, 0xbe88, 0xbf5d, 0x3f99, 0x4022, 0x3f61, 0xbea8, 0xbfc6,
                0xbe6d, 0xc00f, 0x3de1,
            ],
        ),
        (&[2], Kind::Half, &[0xb1f6, 0x290c]),
        (
            &[1, 2, 3, 4],
            Kind::Float,
            &[
                0x3f137509, 0xbeb8c92f, 0xbd782d9f, 0x3d960698, 0x3f51933f, 0x3fbd802b, 0x3eb09a99,
                0xbfb649c7, 0x3f2713a7, 0xbff34554, 0x3e6a0ff7, 0x3ccba5f3, 0xbeb12064, 0x3e92dbc0,
                0xbf3b187d, 0x3e330415, 0xbe9e97ef, 0xbfcd1397, 0x3fad2bba, 0x3fa4f84e, 0x3d5633c7,
                0xbfc5ff32, 0x3f41b77d, 0x3f468872,
            ],
        ),
        (&[3], Kind::BFloat16, &[0x3fdb, 0xbf39, 0xbf45]),
    ];

    #[test]
    fn the_stream_is_torchs() {
        let mut generator = Generator::new(42).unwrap();
        for (shape, kind, expected) in DRAWS {
            let drawn = generator.randn(shape, *kind, Device::Cpu).unwrap();
            assert_eq!((drawn.size().as_slice(), drawn.kind()), (*shape, *kind));
            assert_drawn(&drawn, expected);
        }
    }

    #[test]
    fn a_state_leads_to_the_same_numbers() {
        let mut generator = Generator::new(42).unwrap();
        // An odd number leaves a number over for the next draw of few.
        let _ = generator.randn(&[3], Kind::Float, Device::Cpu).unwrap();
        let state = generator.state().unwrap();
        let draw = |generator: &mut Generator| {
            [5i64, 33].map(|n| bits(&generator.randn(&[n], Kind::Float, Device::Cpu).unwrap()))
        };
        let expected = draw(&mut generator);
        assert_ne!(draw(&mut generator), expected);
        let mut other = Generator::new(1).unwrap();
        other.set_state(&state).unwrap();
        assert_eq!(draw(&mut other), expected);
        for wrong in [vec![], vec![1u8; 7], vec![255u8; state.numel()]] {
            let wrong = Tensor::f_from_slice(&wrong).unwrap();
            let error = other.set_state(&wrong).unwrap_err().to_string();
            assert!(error.contains("generator"), "{error}");
        }
        other.set_state(&state).unwrap();
        assert_eq!(draw(&mut other), expected);
    }

    #[test]
    fn the_low_half_of_the_seed_counts() {
        for seed in [7, (1 << 40) + 7] {
            let mut generator = Generator::new(seed).unwrap();
            let drawn = generator.randn(&[3], Kind::Float, Device::Cpu).unwrap();
            assert_drawn(&drawn, &[0xbe165174, 0x3f49408e, 0x3f7262e7]);
        }
    }

    #[test]
    fn interleaved_generators_do_not_disturb_each_other() {
        let mut other = Generator::new(1).unwrap();
        let mut generator = Generator::new(42).unwrap();
        for (shape, kind, expected) in DRAWS {
            let _ = other.randn(&[19], Kind::Float, Device::Cpu).unwrap();
            let drawn = generator.randn(shape, *kind, Device::Cpu).unwrap();
            assert_drawn(&drawn, expected);
        }
    }

    #[test]
    fn threads_reproduce_the_same_stream() {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut generator = Generator::new(42).unwrap();
                    for (shape, kind, expected) in DRAWS {
                        let drawn = generator.randn(shape, *kind, Device::Cpu).unwrap();
                        assert_drawn(&drawn, expected);
                    }
                });
            }
        });
    }

    #[test]
    fn the_generator_of_the_process_is_untouched() {
        // Other tests of this process may draw from it meanwhile; ours must never.
        let untouched = (0..100).any(|seed| {
            let before = shim::default_generator_state().unwrap();
            let mut generator = Generator::new(seed).unwrap();
            let _ = generator.randn(&[100], Kind::Float, Device::Cpu).unwrap();
            let after = shim::default_generator_state().unwrap();
            before.f_equal(&after).unwrap()
        });
        assert!(untouched);
    }
}
