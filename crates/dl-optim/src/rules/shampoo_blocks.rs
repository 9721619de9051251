//! The blocks that Shampoo cuts a parameter into, and the matrices on their sides.

use candle_core::{Result, Tensor};

use super::moments::Sum;
use crate::Path;
use crate::sides::{grams, turned};
use crate::spectral::mapped;

/// A parameter of the shape `dims`, cut into blocks, of which each has a matrix for every side asked
/// for. The matrices lie one after the other in a vector: by block in the order of the dimensions, by
/// side in each.
pub(super) struct Blocks {
    dims: Vec<usize>,
    size: usize,
    asked: Vec<bool>,
}

/// A block: for each dimension where it starts and how long it is.
type Block = Vec<(usize, usize)>;

impl Blocks {
    pub(super) fn new(dims: Vec<usize>, size: usize, asked: Vec<bool>) -> Self {
        Self { dims, size, asked }
    }

    /// How many sides of a block have a matrix.
    pub(super) fn sides(&self) -> usize {
        self.asked.iter().filter(|asked| **asked).count()
    }

    /// Elements of all matrices.
    pub(super) fn length(&self) -> usize {
        let sizes = self
            .blocks()
            .into_iter()
            .flat_map(|block| self.matrices(&block));
        sizes.map(|size| size * size).sum()
    }

    /// Makes every matrix `value` times the identity.
    pub(super) fn fill_diagonals(&self, matrices: &Tensor, value: f64) -> Result<()> {
        let mut at = 0;
        for size in self.blocks().iter().flat_map(|block| self.matrices(block)) {
            let eye = Tensor::eye(size, matrices.dtype(), matrices.device())?;
            self.store(matrices, &mut at, &eye.affine(value, 0.0)?)?;
        }
        Ok(())
    }

    /// Adds the second moments of every side of every block.
    pub(super) fn add(&self, statistics: &Tensor, g: &Tensor, sum: Sum) -> Result<()> {
        let g = g.reshape(self.dims.as_slice())?;
        let mut at = 0;
        for block in self.blocks() {
            let part = cut(&g, &block)?;
            for gram in grams(&part, part.dims(), &self.asked)?
                .into_iter()
                .flatten()
            {
                let mut moved = statistics.narrow(0, at, gram.elem_count())?.copy()?;
                sum.moved(&mut moved, &gram.flatten_all()?, Path::Fused)?;
                self.store(statistics, &mut at, &moved)?;
            }
        }
        Ok(())
    }

    /// Puts f of the eigenvalues of every matrix into `roots`.
    pub(super) fn take_roots(
        &self,
        statistics: &Tensor,
        roots: &Tensor,
        f: impl Fn(f64, f64) -> f64,
    ) -> Result<()> {
        let mut at = 0;
        for size in self.blocks().iter().flat_map(|block| self.matrices(block)) {
            let matrix = statistics
                .narrow(0, at, size * size)?
                .reshape((size, size))?;
            self.store(roots, &mut at, &mapped(&matrix, &f)?)?;
        }
        Ok(())
    }

    /// Multiplies every block of a gradient by its matrices.
    pub(super) fn apply(&self, roots: &Tensor, g: &Tensor) -> Result<Tensor> {
        let whole = g.reshape(self.dims.as_slice())?;
        let (mut at, mut parts) = (0, Vec::new());
        for block in self.blocks() {
            let mut sides = Vec::with_capacity(block.len());
            for (&(_, size), asked) in block.iter().zip(&self.asked) {
                sides.push(match asked {
                    true => Some(roots.narrow(0, at, size * size)?.reshape((size, size))?),
                    false => None,
                });
                at += if *asked { size * size } else { 0 };
            }
            let part = cut(&whole, &block)?;
            parts.push(turned(&part, part.dims(), &sides)?);
        }
        self.joined(parts)?.reshape(g.shape())
    }

    /// All blocks, the last dimension fastest.
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![Vec::new()];
        for &dim in &self.dims {
            let cuts = (0..dim).step_by(self.size);
            let cuts: Vec<_> = cuts
                .map(|start| (start, self.size.min(dim - start)))
                .collect();
            let longer = |block: Block| {
                let with = |cut: &(usize, usize)| [block.as_slice(), &[*cut]].concat();
                cuts.iter().map(with).collect::<Vec<_>>()
            };
            blocks = blocks.into_iter().flat_map(longer).collect();
        }
        blocks
    }

    /// The sizes of the matrices of a block.
    fn matrices(&self, block: &Block) -> Vec<usize> {
        let sides = block.iter().zip(&self.asked).filter(|(_, asked)| **asked);
        sides.map(|((_, size), _)| *size).collect()
    }

    /// Writes a matrix into its place, and moves on to the next.
    fn store(&self, matrices: &Tensor, at: &mut usize, matrix: &Tensor) -> Result<()> {
        let flat = matrix.flatten_all()?.contiguous()?;
        matrices.slice_set(&flat, 0, *at)?;
        *at += flat.elem_count();
        Ok(())
    }

    /// The blocks put together again, last dimension first.
    fn joined(&self, mut parts: Vec<Tensor>) -> Result<Tensor> {
        for (side, dim) in self.dims.iter().enumerate().rev() {
            let cuts = dim.div_ceil(self.size);
            let rows = parts.chunks(cuts).map(|row| Tensor::cat(row, side));
            parts = rows.collect::<Result<_>>()?;
        }
        Tensor::cat(&parts, 0)
    }
}

fn cut(g: &Tensor, block: &Block) -> Result<Tensor> {
    let mut part = g.clone();
    for (side, &(start, size)) in block.iter().enumerate() {
        part = part.narrow(side, start, size)?;
    }
    part.contiguous()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{DType, Device};

    /// 5 into 2, 2, 1 and 3 into 2, 1; the last side has no matrix.
    #[test]
    fn identities_on_ragged_blocks_give_the_gradient_back() {
        let blocks = Blocks::new(vec![5, 3, 2], 2, vec![true, true, false]);
        assert_eq!(blocks.length(), 2 * (4 + 4 + 1) + 3 * (4 + 1));
        let roots = Tensor::zeros(blocks.length(), DType::F64, &Device::Cpu).unwrap();
        blocks.fill_diagonals(&roots, 2.0).unwrap();
        let g = Tensor::arange(0f64, 30.0, &Device::Cpu)
            .unwrap()
            .reshape((5, 6))
            .unwrap();
        let twice = blocks.apply(&roots, &g).unwrap();
        let want = g.affine(4.0, 0.0).unwrap();
        assert_eq!(
            twice.to_vec2::<f64>().unwrap(),
            want.to_vec2::<f64>().unwrap()
        );
    }
}
