//! Functions with known minima, for tests of optimizers and for pictures of them.
//!
//! Each takes a vector and returns a scalar that is differentiable by candle.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use dl_optim::test_functions::rosenbrock;
//! let x = Tensor::new(&[-1.0_f64, 1.0, 1.0], &Device::Cpu)?;
//! assert_eq!(rosenbrock(&x)?.to_scalar::<f64>()?, 4.0);
//! # Ok::<(), candle_core::Error>(())
//! ```

use std::f64::consts::PI;

use candle_core::{Device, Result, Tensor, bail};

/// A bowl: the sum of squares, least at 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[3.0_f64, 4.0], &Device::Cpu)?;
/// assert_eq!(dl_optim::test_functions::sphere(&x)?.to_scalar::<f64>()?, 25.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn sphere(x: &Tensor) -> Result<Tensor> {
    x.sqr()?.sum_all()
}

/// A bent valley with a flat floor, least, 0, at (1, …, 1).
///
/// ```text
/// Σ 100 (xᵢ₊₁ − xᵢ²)² + (1 − xᵢ)²
/// ```
///
/// Source: H. Rosenbrock, 1960, An Automatic Method for Finding the Greatest or Least Value of a
/// Function.
pub fn rosenbrock(x: &Tensor) -> Result<Tensor> {
    let n = x.dims1()?;
    if n < 2 {
        bail!("rosenbrock: `x` must have 2 or more elements, got {n}");
    }
    let (head, tail) = (x.narrow(0, 0, n - 1)?, x.narrow(0, 1, n - 1)?);
    let valley = ((tail - head.sqr()?)?.sqr()? * 100.0)?;
    (valley + head.affine(-1.0, 1.0)?.sqr()?)?.sum_all()
}

/// A bowl with a dent in every unit square, least, 0, at 0.
///
/// ```text
/// 10 n + Σ xᵢ² − 10 cos(2π xᵢ)
/// ```
///
/// Source: L. Rastrigin, 1974, Systems of Extremal Control.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[0.5_f64, 0.0], &Device::Cpu)?;
/// let value = dl_optim::test_functions::rastrigin(&x)?.to_scalar::<f64>()?;
/// assert!((value - 20.25).abs() < 1e-12);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn rastrigin(x: &Tensor) -> Result<Tensor> {
    let waves = (x.affine(2.0 * PI, 0.0)?.cos()? * -10.0)?;
    (x.sqr()? + waves)?.affine(1.0, 10.0)?.sum_all()
}

/// A bowl that is `condition` times steeper along the last axis than along the first, least at 0.
///
/// ```text
/// ½ Σ κ^(i / (n − 1)) xᵢ²,   i = 0 … n − 1
/// ```
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[2.0_f64, 1.0], &Device::Cpu)?;
/// let value = dl_optim::test_functions::quadratic(&x, 100.0)?;
/// assert_eq!(value.to_scalar::<f64>()?, 52.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn quadratic(x: &Tensor, condition: f64) -> Result<Tensor> {
    let n = x.dims1()?;
    let last = n.saturating_sub(1).max(1) as f64;
    let steepness: Vec<f64> = (0..n)
        .map(|i| condition.powf(i as f64 / last) / 2.0)
        .collect();
    let steepness = Tensor::new(steepness, x.device())?.to_dtype(x.dtype())?;
    (x.sqr()? * steepness)?.sum_all()
}

/// Two clouds of points to be told apart by a line through 0: convex, with one minimum.
///
/// ```text
/// mean log(1 + exp(−yᵢ xᵢ·w)) + ½ λ ‖w‖²
/// ```
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_optim::test_functions::LogisticRegression;
/// let problem = LogisticRegression::new(64, 3, &Device::Cpu)?;
/// let zero = Tensor::zeros(3, candle_core::DType::F64, &Device::Cpu)?;
/// let loss = problem.loss(&zero)?.to_scalar::<f64>()?;
/// assert!((loss - 2f64.ln()).abs() < 1e-12);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogisticRegression {
    /// The points times their labels, −1 or 1: `(samples, dims)`, f64.
    pub signed: Tensor,
    /// λ. Default 1e-3.
    pub weight_decay: f64,
}

impl LogisticRegression {
    /// So many points, always the same ones. One in ten lies on the wrong side.
    pub fn new(samples: usize, dims: usize, device: &Device) -> Result<Self> {
        let mut signed = Vec::with_capacity(samples * dims);
        for i in 0..samples {
            let side = if i % 10 == 9 { -1.0 } else { 1.0 };
            for k in 0..dims {
                // Scattered by multiples of an irrational number (H. Weyl, 1916).
                let scatter = ((i * dims + k + 1) as f64 * 0.618_033_988_749_895).fract() - 0.5;
                let centre = 1.0 / (k + 1) as f64;
                signed.push(side * (centre + 2.0 * scatter));
            }
        }
        Ok(Self {
            signed: Tensor::from_vec(signed, (samples, dims), device)?,
            weight_decay: 1e-3,
        })
    }

    /// The loss of weights of shape `(dims,)`.
    pub fn loss(&self, w: &Tensor) -> Result<Tensor> {
        let signed = self.signed.to_dtype(w.dtype())?;
        let margin = signed.matmul(&w.unsqueeze(1)?)?.squeeze(1)?;
        // Stable on both sides of 0.
        let tail = (margin.abs()?.neg()?.exp()? + 1.0)?.log()?;
        let loss = (margin.neg()?.relu()? + tail)?.mean_all()?;
        loss + (w.sqr()?.sum_all()? * (self.weight_decay / 2.0))?
    }
}

/// A function of two numbers, and where to look at it.
///
/// ```
/// let names = dl_optim::test_functions::planes().map(|plane| plane.name);
/// assert_eq!(names, ["sphere", "rosenbrock", "rastrigin", "quadratic"]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: fn(&Tensor) -> Result<Tensor>,
    /// A usual place to begin.
    pub start: [f64; 2],
    /// Where it is 0 and least.
    pub minimum: [f64; 2],
    /// The window to draw: least and greatest of the first number, then of the second.
    pub window: [(f64, f64); 2],
}

/// The functions of this module in two dimensions; `quadratic` with a condition of 100.
pub fn planes() -> [Plane; 4] {
    let plane = |name, value, start, minimum, window| Plane {
        name,
        value,
        start,
        minimum,
        window,
    };
    let square = |side: f64| [(-side, side), (-side, side)];
    [
        plane("sphere", sphere, [2.0, 1.0], [0.0, 0.0], square(3.0)),
        plane(
            "rosenbrock",
            rosenbrock,
            [-1.5, 2.0],
            [1.0, 1.0],
            [(-2.0, 2.0), (-1.0, 3.0)],
        ),
        plane("rastrigin", rastrigin, [-3.2, 3.7], [0.0, 0.0], square(4.5)),
        plane(
            "quadratic",
            |x| quadratic(x, 100.0),
            [-2.5, 1.0],
            [0.0, 0.0],
            square(3.0),
        ),
    ]
}
