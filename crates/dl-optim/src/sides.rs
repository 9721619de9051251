//! Matrices on the sides of a tensor: one for each dimension.

use candle_core::{Result, Tensor};

/// The most dimensions that rules with a matrix for each take.
pub(crate) const MOST_SIDES: usize = 8;

/// Multiplies side `i` of a tensor by `matrices[i]`, or leaves it.
///
/// The tensor is taken as one of the shape `dims`, and its own shape stays.
pub(crate) fn turned(x: &Tensor, dims: &[usize], matrices: &[Option<Tensor>]) -> Result<Tensor> {
    let mut turned = x.clone();
    for (dim, matrix) in dims.iter().zip(matrices) {
        // (dim, others) → (others, dim): after all dimensions each is back in its place.
        let rows = turned.reshape((*dim, ()))?.t()?;
        turned = match matrix {
            Some(matrix) => rows.matmul(matrix)?,
            None => rows.contiguous()?,
        };
    }
    turned.reshape(x.shape())
}

/// X Xᵀ of the tensor as a matrix X of side by others, for the sides asked for.
pub(crate) fn grams(x: &Tensor, dims: &[usize], asked: &[bool]) -> Result<Vec<Option<Tensor>>> {
    let (mut x, mut grams) = (x.clone(), Vec::with_capacity(dims.len()));
    for (dim, asked) in dims.iter().zip(asked) {
        let rows = x.reshape((*dim, ()))?;
        grams.push(match asked {
            true => Some(rows.matmul(&rows.t()?)?),
            false => None,
        });
        x = rows.t()?.contiguous()?;
    }
    Ok(grams)
}

/// The shape with neighbours multiplied together for as long as they do not exceed `most`, and without
/// ones (Anil et al., 2020).
pub(crate) fn merged(shape: &[usize], most: usize) -> Vec<usize> {
    let (mut dims, mut product) = (Vec::new(), 1);
    for &dim in shape {
        if product * dim <= most {
            product *= dim;
            continue;
        }
        if product > 1 {
            dims.push(product);
        }
        product = dim;
    }
    if product > 1 || dims.is_empty() {
        dims.push(product);
    }
    dims
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Device;

    #[test]
    fn neighbours_are_merged_up_to_the_most_and_ones_fall_out() {
        let shape = [1, 2, 512, 1, 2048, 1, 3, 4];
        assert_eq!(merged(&shape, 1024), [1024, 2048, 12]);
        assert_eq!(merged(&[1, 2, 768, 1, 2048], 1024), [2, 768, 2048]);
        assert_eq!(merged(&[1, 1], 8), [1]);
        assert_eq!(merged(&[], 8), [1]);
    }

    #[test]
    fn a_permutation_on_one_side_moves_that_side_alone() {
        let x = Tensor::arange(0f64, 12.0, &Device::Cpu)
            .unwrap()
            .reshape((2, 3, 2))
            .unwrap();
        let swap = Tensor::new(&[[0.0, 1.0], [1.0, 0.0]], &Device::Cpu).unwrap();
        let turned = turned(&x, &[2, 3, 2], &[None, None, Some(swap)]).unwrap();
        let want = [1.0, 0.0, 3.0, 2.0, 5.0, 4.0, 7.0, 6.0, 9.0, 8.0, 11.0, 10.0];
        assert_eq!(
            turned.flatten_all().unwrap().to_vec1::<f64>().unwrap(),
            want
        );
    }

    #[test]
    fn the_gram_of_the_middle_side_is_over_both_others() {
        let x = Tensor::arange(0f64, 8.0, &Device::Cpu)
            .unwrap()
            .reshape((2, 2, 2))
            .unwrap();
        let grams = grams(&x, &[2, 2, 2], &[false, true, false]).unwrap();
        // 0² + 1² + 4² + 5², 0·2 + 1·3 + 4·6 + 5·7, 2² + 3² + 6² + 7²
        let want = vec![vec![42.0, 62.0], vec![62.0, 98.0]];
        assert_eq!(grams[1].as_ref().unwrap().to_vec2::<f64>().unwrap(), want);
        assert!(grams[0].is_none() && grams[2].is_none());
    }
}
