use super::*;
use crate::runtime::shim::Generator;
use tch::{Device, Tensor};

fn randn(seed: u64, shape: &[i64]) -> Tensor {
    Generator::new(seed).unwrap().randn(shape, Kind::Float).unwrap()
}

fn quantized(kind: Quantization, dense: &Tensor, into: Kind) -> Result<QuantizedMatrix> {
    let (rows, columns) = dense.size2()?;
    QuantizedMatrix::from_rows(kind, [rows, columns], (into, Device::Cpu), |matrix| {
        matrix.write(0, dense)
    })
}

/// What an element may be off by, in double precision: the table of this module.
fn bound(kind: Quantization, dense: &Tensor) -> Tensor {
    let dense = dense.to_kind(Kind::Double);
    let (rows, columns) = dense.size2().unwrap();
    let of_row = dense.abs().amax([1i64].as_slice(), true);
    // What float32 adds in the division and the product.
    let rounding = dense.abs() * 3e-7;
    rounding
        + match kind {
            Quantization::Int8 => (of_row / 254.0).expand([rows, columns], false),
            Quantization::Fp8 => (dense.abs() / 16.0).maximum(&(of_row / 458_752.0)),
            Quantization::Int4 => {
                let groups = (columns + 31) / 32;
                let padded = dense.abs().constant_pad_nd([0, groups * 32 - columns]);
                let largest = padded.view([rows, groups, 32]).amax([2i64].as_slice(), true);
                let step = largest / 7.8;
                step.expand([rows, groups, 32], false)
                    .reshape([rows, groups * 32])
                    .narrow(1, 0, columns)
            }
        }
}

#[test]
fn elements_are_off_by_no_more_than_is_said() {
    for kind in Quantization::ALL {
        for (rows, columns) in [(5, 64), (3, 7), (1, 1), (300, 1000), (64, 33)] {
            let mut dense = randn(7, &[rows, columns]);
            // Rows of other sizes, a row of zeros, and one outlier.
            dense *= randn(8, &[rows, 1]).exp();
            let _ = dense.get(rows - 1).zero_();
            let _ = dense.get(0).get(0).fill_(50.0);
            let matrix = quantized(kind, &dense, Kind::Float).unwrap();
            let found = matrix.dense().unwrap();
            assert_eq!(found.size(), dense.size());
            let off = (found.to_kind(Kind::Double) - dense.to_kind(Kind::Double)).abs();
            let beyond = (&off - bound(kind, &dense)).max().double_value(&[]);
            assert!(beyond <= 0.0, "{kind:?} {rows} × {columns}: {beyond} beyond");
            assert!(
                rows == 1 || off.max().double_value(&[]) > 0.0,
                "{kind:?}: nothing was rounded"
            );
            assert_eq!(found.get(rows - 1).abs().max().double_value(&[]) > 0.0, rows == 1);

            // Any rows of it, and what is made of what was made.
            let some = matrix.dense_rows(rows / 2, rows - rows / 2).unwrap();
            assert!(some.equal(&found.narrow(0, rows / 2, rows - rows / 2)));
            // (The largest of a group may have been rounded, and its scale with it.)
            let again = matrix.remade(&found).unwrap().dense().unwrap();
            let moved = (again - &found).abs().max().double_value(&[]);
            assert!(moved <= off.max().double_value(&[]), "{kind:?}: {moved}");
        }
    }
}

#[test]
fn a_product_is_off_by_what_its_elements_are() {
    for kind in Quantization::ALL {
        let (dense, x) = (randn(1, &[48, 96]), randn(2, &[10, 96]));
        let matrix = quantized(kind, &dense, Kind::Float).unwrap();
        let exact = |w: &Tensor| x.to_kind(Kind::Double).matmul(&w.to_kind(Kind::Double).tr());
        let off = (exact(&matrix.dense().unwrap()) - exact(&dense)).abs();
        let most = x.abs().to_kind(Kind::Double).matmul(&bound(kind, &dense).tr());
        assert!((off - most).max().double_value(&[]) <= 0.0, "{kind:?}");
    }
}

#[test]
fn other_dtypes_are_rounded_once() {
    for kind in Quantization::ALL {
        let dense = randn(3, &[40, 70]);
        let float = quantized(kind, &dense, Kind::Float).unwrap().dense().unwrap();
        for into in [Kind::BFloat16, Kind::Half] {
            let matrix = quantized(kind, &dense, into).unwrap();
            assert_eq!(matrix.kind(), into);
            assert!(matrix.dense().unwrap().equal(&float.to_kind(into)), "{kind:?}, {into:?}");
        }
    }
}

#[test]
fn e4m3_is_libtorchs_in_every_code() {
    let bytes = Tensor::arange(256, (Kind::Int64, Device::Cpu)).to_kind(Kind::Uint8);
    let all = bytes.f_view_dtype(Kind::Float8e4m3fn).unwrap().view([256, 1]);
    let expected = all.to_kind(Kind::Float);
    let target = Tensor::zeros([256, 1], (Kind::Float, Device::Cpu));
    codes::Codes::Fp8(all).numbers(0, 256, 1, &target).unwrap();
    let finite = expected.isfinite();
    assert_eq!(finite.sum(Kind::Int64).int64_value(&[]), 254);
    assert!(target.masked_select(&finite).equal(&expected.masked_select(&finite)));
}

#[test]
fn what_is_kept_is_what_is_counted() {
    let dense = randn(4, &[64, 128]);
    let bytes = |kind| quantized(kind, &dense, Kind::Float).unwrap().bytes().unwrap();
    assert_eq!(bytes(Quantization::Int8), 64 * 128 + 64 * 4);
    assert_eq!(bytes(Quantization::Fp8), 64 * 128 + 64 * 4);
    assert_eq!(bytes(Quantization::Int4), 64 * 64 + 64 * 4 * 2);
}

#[test]
fn numbers_without_codes_are_refused() {
    for kind in Quantization::ALL {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let dense = randn(5, &[4, 64]);
            let _ = dense.get(2).get(3).fill_(bad);
            let found = quantized(kind, &dense, Kind::Float).err();
            assert!(
                matches!(found, Some(Error::InvalidCheckpoint(_))),
                "{kind:?} {bad}: {found:?}"
            );
        }
    }
}

#[test]
fn names_are_read_back_and_others_refused() {
    for kind in Quantization::ALL {
        assert_eq!(Quantization::parse(kind.name()), Ok(kind));
    }
    let Err(Error::InvalidArgument(message)) = Quantization::parse("nf4") else { panic!() };
    assert!(message.contains("int8") && message.contains("nf4"), "{message}");
}
