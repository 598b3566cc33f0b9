//! How the numbers of a GGUF tensor lie in blocks, and what they are (ggml ggml-common.h, the
//! structs `block_…`; ggml-quants.c, `dequantize_row_…`).

use half::{bf16, f16};

/// Elements of a block with two levels of scales.
const K: usize = 256;

/// A format of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockFormat {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl BlockFormat {
    pub const NAMES: &'static str =
        "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K";

    /// That of a `ggml_type`.
    pub fn of(number: u32) -> Option<BlockFormat> {
        Some(match number {
            0 => BlockFormat::F32,
            1 => BlockFormat::F16,
            2 => BlockFormat::Q4_0,
            3 => BlockFormat::Q4_1,
            6 => BlockFormat::Q5_0,
            7 => BlockFormat::Q5_1,
            8 => BlockFormat::Q8_0,
            12 => BlockFormat::Q4K,
            13 => BlockFormat::Q5K,
            14 => BlockFormat::Q6K,
            30 => BlockFormat::Bf16,
            _ => return None,
        })
    }

    /// Elements and bytes of a block.
    pub fn block(self) -> (usize, usize) {
        match self {
            BlockFormat::F32 => (1, 4),
            BlockFormat::F16 | BlockFormat::Bf16 => (1, 2),
            BlockFormat::Q4_0 => (32, 18),
            BlockFormat::Q4_1 => (32, 20),
            BlockFormat::Q5_0 => (32, 22),
            BlockFormat::Q5_1 => (32, 24),
            BlockFormat::Q8_0 => (32, 34),
            BlockFormat::Q4K => (K, 144),
            BlockFormat::Q5K => (K, 176),
            BlockFormat::Q6K => (K, 210),
        }
    }

    /// Writes the numbers of `bytes`, whole blocks, to `out`; both end with the shorter.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let (elements, size) = self.block();
        for (block, out) in bytes.chunks_exact(size).zip(out.chunks_exact_mut(elements)) {
            self.decode_block(block, out);
        }
    }

    fn decode_block(self, block: &[u8], out: &mut [f32]) {
        match self {
            BlockFormat::F32 => put(out, [f32::from_bits(u32_at(block, 0))]),
            BlockFormat::F16 => put(out, [half_at(block, 0)]),
            BlockFormat::Bf16 => put(out, [bf16::from_bits(u16_at(block, 0)).to_f32()]),
            BlockFormat::Q8_0 => {
                let d = half_at(block, 0);
                put(out, tail(block, 2).iter().map(|&q| d * f32::from(q as i8)));
            }
            BlockFormat::Q4_0 => {
                let d = half_at(block, 0);
                put(out, nibbles(tail(block, 2)).map(|q| d * (f32::from(q) - 8.0)));
            }
            BlockFormat::Q4_1 => {
                let (d, m) = (half_at(block, 0), half_at(block, 2));
                put(out, nibbles(tail(block, 4)).map(|q| d * f32::from(q) + m));
            }
            BlockFormat::Q5_0 => {
                let (d, high) = (half_at(block, 0), u32_at(block, 2));
                let codes = nibbles(tail(block, 6)).zip(bits(high));
                put(out, codes.map(|(q, high)| d * (f32::from(q | high << 4) - 16.0)));
            }
            BlockFormat::Q5_1 => {
                let (d, m, high) = (half_at(block, 0), half_at(block, 2), u32_at(block, 4));
                let codes = nibbles(tail(block, 8)).zip(bits(high));
                put(out, codes.map(|(q, high)| d * f32::from(q | high << 4) + m));
            }
            BlockFormat::Q4K => {
                let codes = tail(block, 16).chunks_exact(32).flat_map(nibbles);
                scaled_k(block, codes, out);
            }
            BlockFormat::Q5K => {
                let high = tail(block, 16).get(..32).unwrap_or(&[]);
                let low = tail(block, 48).chunks_exact(32).flat_map(nibbles);
                // Bit j of byte i is the fifth bit of element i of the j-th 32.
                let fifth = (0..8u8).flat_map(|j| high.iter().map(move |byte| byte >> j & 1));
                scaled_k(block, low.zip(fifth).map(|(q, fifth)| q | fifth << 4), out);
            }
            BlockFormat::Q6K => q6k(block, out),
        }
    }
}

/// Of Q4_K and Q5_K: eight groups of 32, each with a scale and a minimum of six bits.
fn scaled_k(block: &[u8], codes: impl Iterator<Item = u8>, out: &mut [f32]) {
    let (d, least) = (half_at(block, 0), half_at(block, 2));
    let packed = tail(block, 4);
    let byte = |at: usize| packed.get(at).copied().unwrap_or(0);
    let scale = |j: usize| match j {
        0..4 => (byte(j) & 63, byte(j + 4) & 63),
        _ => (byte(j + 4) & 15 | byte(j - 4) >> 6 << 4, byte(j + 4) >> 4 | byte(j) >> 6 << 4),
    };
    put(
        out,
        codes.enumerate().map(|(i, q)| {
            let (scale, minimum) = scale(i / 32);
            d * f32::from(scale) * f32::from(q) - least * f32::from(minimum)
        }),
    );
}

/// Of Q6_K: two halves of 128, whose codes have four bits in `low` and two in `high`; a scale for 16.
fn q6k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (block, tail(block, 128), tail(block, 192));
    let d = half_at(block, 208);
    let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
    put(
        out,
        (0..K).map(|i| {
            let (half, quarter, place) = (i / 128, i % 128 / 32, i % 32);
            let four = byte(low, 64 * half + 32 * (quarter % 2) + place);
            let four = if quarter < 2 { four & 15 } else { four >> 4 };
            let two = byte(high, 32 * half + place) >> (2 * quarter) & 3;
            let scale = byte(scales, i / 16) as i8;
            d * f32::from(scale) * (f32::from(four | two << 4) - 32.0)
        }),
    );
}

fn put(out: &mut [f32], numbers: impl IntoIterator<Item = f32>) {
    out.iter_mut().zip(numbers).for_each(|(out, number)| *out = number);
}

fn tail(block: &[u8], from: usize) -> &[u8] {
    block.get(from..).unwrap_or(&[])
}

fn u16_at(block: &[u8], at: usize) -> u16 {
    match tail(block, at) {
        [a, b, ..] => u16::from_le_bytes([*a, *b]),
        _ => 0,
    }
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from(u16_at(block, at)) | u32::from(u16_at(block, at + 2)) << 16
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_bits(u16_at(block, at)).to_f32()
}

/// All low halves, then all high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// 32 bits from the lowest on.
fn bits(word: u32) -> impl Iterator<Item = u8> {
    (0..32).map(move |i| (word >> i & 1) as u8)
}
