//! What a CUDA device holds of matrices in fewer bits while they are multiplied with: each is made
//! dense for its product (`backend::quantized`), beside the activations that are there by then.

use super::quantization::Quantizations;
use super::request::Request;
use crate::backend::{Quantization, QuantizedMatrix};
use crate::checkpoint::PipelineFolder;
use crate::runtime::memory::product;
use tch::{Device, Kind};

/// A matrix that is made dense for a product.
struct Dense {
    /// The most while it is made.
    making: u64,
    /// During the product.
    held: u64,
}

impl Dense {
    fn of(quantization: Quantization, [rows, columns]: [i64; 2], element: i64) -> Dense {
        let [_, (_, [_, groups])] = QuantizedMatrix::layout(quantization, rows, columns);
        let four_bits = quantization == Quantization::Int4;
        let columns = if four_bits { groups.saturating_mul(32) } else { columns };
        let held = product(&[rows, columns, element]);
        // So many rows at once, in float32 unless that is what they become.
        let step = QuantizedMatrix::rows_at_once(Device::Cuda(0), columns).min(rows);
        let wide = if element < 4 { product(&[step, columns, 4]) } else { 0 };
        // Codes of four bits are taken apart, a half at a time.
        let codes = if four_bits { product(&[step, columns]) / 2 } else { 0 };
        let scales = product(&[step, groups, 4]);
        let making = held.saturating_add(wide).saturating_add(codes.max(scales));
        Dense { making, held }
    }
}

/// Float8 products: the tokens in float32 and in codes, and the result in float32 and as it is wanted;
/// rows of so many inputs and outputs, in bytes beside the input and the output.
fn float8(rows: i64, inputs: i64, outputs: i64) -> u64 {
    product(&[rows, inputs, 5]).saturating_add(product(&[rows, outputs, 4]))
}

/// The most bytes in the transformer's blocks while a matrix is there, without what the run holds
/// beside them; 0 where its matrices are not quantized. `layer` is what the tokens take.
pub(super) fn transformer(
    folder: &PipelineFolder,
    quantizations: Quantizations,
    [rows, width]: [i64; 2],
    element: i64,
) -> u64 {
    let Some(quantization) = quantizations.transformer else { return 0 };
    let layer = product(&[rows, width, element]);
    let layers = |count: u64| layer.saturating_mul(count);
    let time = folder.transformer.time_embed_dim;
    // Inputs and outputs; what is there before the product, and what it makes.
    let (wide, triple) = (width.saturating_mul(4), width.saturating_mul(3));
    let products = [
        ([time, width.saturating_mul(6)], layers(1), 0),
        ([width, triple], layers(2), layers(3)),
        ([width, width], layers(2), layers(1)),
        ([width, wide], layers(2), layers(4)),
        ([wide, width], layers(5), layers(1)),
    ];
    most(quantization, &products, rows, element)
}

/// As [`transformer`], for one text in the text encoder, without what positions take.
pub(super) fn text_encoder(
    folder: &PipelineFolder,
    quantizations: Quantizations,
    request: &Request,
    element: i64,
) -> u64 {
    let Some(quantization) = quantizations.text_encoder else { return 0 };
    let config = &folder.text_encoder;
    let length = request.sequence_length as i64;
    let (model, ff) = (config.d_model, config.d_ff);
    let inner = config.num_heads.saturating_mul(config.d_kv);
    let of = |width: i64| product(&[length, width, element]);
    // float16 adds up in float32, and so is the last product of a block.
    let last = if element == Kind::Half.elt_size_in_bytes() as i64 { 2 } else { 1 };
    let (triple, pair) = (inner.saturating_mul(3), ff.saturating_mul(2));
    let products = [
        ([model, triple], of(2 * model), of(triple)),
        ([inner, model], of(2 * model).saturating_add(of(4 * inner)), of(model)),
        ([model, pair], of(2 * model), of(pair)),
    ];
    let of_block = most(quantization, &products, length, element);
    let down = [([ff, model], of(2 * model).saturating_add(of((2 + last) * ff)), of(last * model))];
    of_block.max(most(quantization, &down, length, element * last))
}

fn most(
    quantization: Quantization,
    products: &[([i64; 2], u64, u64)],
    rows: i64,
    element: i64,
) -> u64 {
    let peak = |&([inputs, outputs], before, made): &([i64; 2], u64, u64)| {
        if quantization == Quantization::Fp8Compute && inputs % 16 == 0 && outputs % 16 == 0 {
            return before.saturating_add(made).saturating_add(float8(rows, inputs, outputs));
        }
        let Dense { making, held } = Dense::of(quantization, [outputs, inputs], element);
        before.saturating_add(making.max(held.saturating_add(made)))
    };
    products.iter().map(peak).max().unwrap_or(0)
}
