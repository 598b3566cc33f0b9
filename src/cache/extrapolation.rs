//! Prediction of a step's value from those of the steps before it.

/// The weights of the values at `nodes`, which are all different, in the polynomial through them
/// at `x` (Lagrange's form). One node repeats its value; two go on in a line.
pub(super) fn lagrange(nodes: &[f64], x: f64) -> Vec<f64> {
    let weight = |i: usize, own: f64| {
        let others = nodes.iter().enumerate().filter(|(j, _)| *j != i);
        others.map(|(_, other)| (x - other) / (own - other)).product()
    };
    nodes.iter().enumerate().map(|(i, &own)| weight(i, own)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_continued_exactly() {
        let nodes = [0.0, 1.0, 4.0];
        let square = |x: f64| 3.0 * x * x - x + 2.0;
        let value: f64 = lagrange(&nodes, 6.0).iter().zip(nodes).map(|(w, x)| w * square(x)).sum();
        assert!((value - square(6.0)).abs() < 1e-9, "{value}");
        assert_eq!(lagrange(&[3.0], 7.0), [1.0]);
        assert_eq!(lagrange(&[3.0, 4.0], 6.0), [-2.0, 3.0]);
    }
}
