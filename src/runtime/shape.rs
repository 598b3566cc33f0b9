//! Shapes of tensors.

use crate::{Error, Result};
use tch::Tensor;

/// The size of `tensor` along dimension `index`, counted from the end where negative.
///
/// Errors: [`Error::Internal`] where the tensor has no such dimension. A shape that a caller
/// relies on is never guessed: a wrong rank must not become a size of 0.
pub fn dim(tensor: &Tensor, index: i64) -> Result<i64> {
    let size = tensor.size();
    let at = if index < 0 { index + size.len() as i64 } else { index };
    usize::try_from(at).ok().and_then(|at| size.get(at)).copied().ok_or_else(|| {
        Error::Internal(format!("expected a tensor with dimension {index}, found shape {size:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn dimensions_are_counted_from_both_ends_and_never_made_up() {
        let tensor = Tensor::f_zeros([2, 3, 5], (Kind::Float, Device::Cpu)).unwrap();
        assert_eq!((dim(&tensor, 0), dim(&tensor, 2)), (Ok(2), Ok(5)));
        assert_eq!((dim(&tensor, -1), dim(&tensor, -3)), (Ok(5), Ok(2)));
        for index in [3, -4, i64::MIN + 3, i64::MAX] {
            let Err(Error::Internal(message)) = dim(&tensor, index) else { panic!("{index}") };
            assert!(message.contains("[2, 3, 5]"), "{message}");
        }
    }
}
