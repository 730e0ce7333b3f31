//! Eigenvalues of symmetric matrices.

/// Sweeps after which nothing is left beside the diagonal that f64 could hold, at any size used here.
const SWEEPS: usize = 12;

/// Eigenvalues and eigenvectors (columns) of a symmetric matrix, by Jacobi's rotations (Golub & Van Loan,
/// "Matrix Computations", 4th edition, section 8.5).
pub fn eigen<const N: usize>(matrix: &[[f64; N]; N]) -> ([f64; N], Box<[[f64; N]; N]>) {
    // What rounding left of a product is not quite symmetric.
    let mut a = square(|i, j| (matrix[i][j] + matrix[j][i]) / 2.0);
    let mut vectors = square(|i, j| f64::from(u8::from(i == j)));
    for _sweep in 0..SWEEPS {
        for (p, q) in (0..N).flat_map(|p| (p + 1..N).map(move |q| (p, q))) {
            if a[p][q].abs() <= f64::MIN_POSITIVE {
                continue;
            }
            let slope = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
            let tangent = slope.signum() / (slope.abs() + slope.hypot(1.0));
            let cosine = tangent.hypot(1.0).recip();
            let sine = tangent * cosine;
            let turned = |x: f64, y: f64| (cosine * x - sine * y, sine * x + cosine * y);
            for row in a.iter_mut().chain(vectors.iter_mut()) {
                (row[p], row[q]) = turned(row[p], row[q]);
            }
            for k in 0..N {
                (a[p][k], a[q][k]) = turned(a[p][k], a[q][k]);
            }
        }
    }
    (std::array::from_fn(|i| a[i][i]), vectors)
}

fn square<const N: usize>(value: impl Fn(usize, usize) -> f64) -> Box<[[f64; N]; N]> {
    let mut square = Box::new([[0.0; N]; N]);
    for (i, row) in square.iter_mut().enumerate() {
        for (j, cell) in row.iter_mut().enumerate() {
            *cell = value(i, j);
        }
    }
    square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_values_make_the_matrix_again() {
        const N: usize = 40;
        let root = square::<N>(|i, j| {
            ((i * 7 + j * 13) as f64 * 0.37).sin() + f64::from(u8::from(i == j))
        });
        let matrix = square::<N>(|i, j| (0..N).map(|k| root[i][k] * root[j][k]).sum());
        let (values, vectors) = eigen(&matrix);
        for i in 0..N {
            for j in 0..N {
                let again: f64 = (0..N)
                    .map(|k| vectors[i][k] * values[k] * vectors[j][k])
                    .sum();
                let across: f64 = (0..N).map(|k| vectors[k][i] * vectors[k][j]).sum();
                assert!((again - matrix[i][j]).abs() < 1e-9, "{i} {j}: {again}");
                assert!(
                    (across - f64::from(u8::from(i == j))).abs() < 1e-12,
                    "{i} {j}: {across}"
                );
            }
        }
    }
}
