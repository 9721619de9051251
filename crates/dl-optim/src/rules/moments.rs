//! The running sums of rules that move them apart from their step.

use candle_core::{Result, Tensor};

use crate::sweep::combine;
use crate::{Kernel, Path, Real, Update};

/// kept · x + added · g.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    pub(super) kept: f64,
    pub(super) added: f64,
}

impl Kernel<0> for Sum {
    #[inline(always)]
    fn apply<R: Real>(&self, x: R, g: R, _: [R; 0]) -> (R, [R; 0]) {
        (x.scale(self.kept) + g.scale(self.added), [])
    }
}

impl Sum {
    /// A mean, of which a share is kept.
    pub(super) fn mean(kept: f64) -> Self {
        let added = 1.0 - kept;
        Self { kept, added }
    }

    /// Moves `slot`, in place where there is a loop for it.
    pub(super) fn moved(self, slot: &mut Tensor, g: &Tensor, path: Path) -> Result<()> {
        *slot = combine(slot.clone(), g, path, &self)?;
        Ok(())
    }
}

/// g + λ θ.
pub(super) fn decayed_gradient(at: &Update<'_>, l2: f64) -> Result<Tensor> {
    match l2 == 0.0 {
        true => at.gradient(),
        false => at.gradient()? + at.theta()?.affine(l2, 0.0)?,
    }
}
