//! Resampling of signals and images to another size.

use candle_core::{Result, Tensor, bail};

use crate::host::float;
use crate::pool::{adaptive_taps, as_rows};
use crate::separable::{Separable, Taps, separable};

/// How [`interpolate`] reads between the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The element at or before the place: PyTorch's `nearest`.
    Nearest,
    /// The element whose middle is nearest: PyTorch's `nearest-exact`.
    NearestExact,
    /// Between the two neighbours: PyTorch's `linear` and `bilinear`.
    Linear {
        /// Whether the first and last elements keep their places; else the outer edges do.
        align_corners: bool,
    },
    /// Cubic convolution of four neighbours with `a = −0.75`: PyTorch's `bicubic`.
    Cubic {
        /// Whether the first and last elements keep their places; else the outer edges do.
        align_corners: bool,
    },
    /// The mean over adaptive windows, as [`adaptive_avg_pool2d`](crate::adaptive_avg_pool2d):
    /// PyTorch's `area`.
    Area,
}

/// Resamples to a size, as `torch.nn.functional.interpolate` with `size`.
///
/// `(n, c, l)` → `(n, c, size[0])`, `(n, c, h, w)` → `(n, c, size[0], size[1])`
///
/// ```text
/// place of output o:   o·(n − 1)/(m − 1)  with align_corners,   (o + ½)·n/m − ½  without
/// linear               y = (1 − t)·x[i] + t·x[i + 1]            i = ⌊place⌋, t = place − i
/// ```
///
/// A place outside the image reads its border. The weights of each axis are computed once. Differs
/// from PyTorch in that signals may be cubic. Antialiasing is not offered. An error for another
/// rank, sizes that do not fit it, and a dimension or a size of 0.
///
/// Source of the cubic: Keys, "Cubic convolution interpolation for digital image processing", 1981.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{Interpolation, interpolate};
/// let x = Tensor::new(&[[[0f32, 4.]]], &Device::Cpu)?;
/// let y = interpolate(&x, &[4], Interpolation::Linear { align_corners: false })?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0., 1., 3., 4.]);
/// let y = interpolate(&x, &[5], Interpolation::Linear { align_corners: true })?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0., 1., 2., 3., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn interpolate(x: &Tensor, size: &[usize], mode: Interpolation) -> Result<Tensor> {
    let pixels = pixels("interpolate", x, size.len())?;
    let axes = pixels.iter().zip(size);
    resample(
        x,
        axes.map(|(&n, &m)| Axis::new(n, m, None)).collect(),
        mode,
    )
}

/// Resamples by a factor, as `torch.nn.functional.interpolate` with `scale_factor`.
///
/// `(n, c, l)` → `(n, c, ⌊l·factors[0]⌋)`, `(n, c, h, w)` → `(n, c, ⌊h·factors[0]⌋, ⌊w·factors[1]⌋)`
///
/// Places are computed with the factor itself in place of `m/n`, which differs from [`interpolate`]
/// to the same size where the product is not whole. An error as there, and for a factor that is
/// not positive and finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{Interpolation, interpolate_by};
/// let x = Tensor::new(&[[[[1f32, 2.]]]], &Device::Cpu)?;
/// let y = interpolate_by(&x, &[2., 2.], Interpolation::Nearest)?.squeeze(0)?.squeeze(0)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[1., 1., 2., 2.], [1., 1., 2., 2.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn interpolate_by(x: &Tensor, factors: &[f64], mode: Interpolation) -> Result<Tensor> {
    let pixels = pixels("interpolate_by", x, factors.len())?;
    if let Some(factor) = factors.iter().find(|f| !(f.is_finite() && **f > 0.)) {
        bail!("interpolate_by needs positive factors, got {factor}")
    }
    let axes = pixels.iter().zip(factors);
    let axis =
        |(&n, &factor): (&usize, &f64)| Axis::new(n, (n as f64 * factor) as usize, Some(factor));
    resample(x, axes.map(axis).collect(), mode)
}

/// The dimensions that are resampled.
fn pixels<'a>(op: &str, x: &'a Tensor, given: usize) -> Result<&'a [usize]> {
    float(op, ("x", x))?;
    match x.dims() {
        [_, _, pixels @ ..] if (1..=2).contains(&pixels.len()) => match pixels.len() == given {
            true => Ok(pixels),
            false => bail!(
                "{op} of {:?} takes {} sizes, got {given}",
                x.shape(),
                pixels.len()
            ),
        },
        _ => bail!(
            "{op} takes x (n, c, l) or (n, c, h, w), got {:?}",
            x.shape()
        ),
    }
}

fn resample(x: &Tensor, axes: Vec<Axis>, mode: Interpolation) -> Result<Tensor> {
    if let Some(axis) = axes.iter().find(|a| !a.is_valid()) {
        bail!(
            "interpolate of x {:?} cannot make a size of {} out of {}",
            x.shape(),
            axis.outputs,
            axis.inputs
        )
    }
    let taps = |axis: &Axis| axis.taps(mode);
    match axes.as_slice() {
        [columns] => as_rows("interpolate", x, |x| {
            let (rows, columns) = (Taps::identity(1), taps(columns));
            separable(x, Separable { rows, columns })
        }),
        [rows, columns] => {
            let (rows, columns) = (taps(rows), taps(columns));
            separable(x, Separable { rows, columns })
        }
        _ => bail!(
            "interpolate takes one or two dimensions, got {}",
            axes.len()
        ),
    }
}

/// One resampled dimension.
struct Axis {
    inputs: usize,
    outputs: usize,
    /// Inputs per output, where the corners are not aligned.
    scale: f64,
}

impl Axis {
    fn new(inputs: usize, outputs: usize, factor: Option<f64>) -> Self {
        let scale = match factor {
            Some(factor) => 1. / factor,
            None => inputs as f64 / outputs as f64,
        };
        Self {
            inputs,
            outputs,
            scale,
        }
    }

    fn is_valid(&self) -> bool {
        self.inputs.min(self.outputs) > 0 && self.inputs.max(self.outputs) < 1 << 31
    }

    fn taps(&self, mode: Interpolation) -> Taps {
        let all = 0..self.outputs;
        match mode {
            Interpolation::Area => adaptive_taps(self.inputs, self.outputs),
            Interpolation::Nearest => self.map(all.map(|o| vec![(self.nearest(o, 0.), 1.)])),
            Interpolation::NearestExact => self.map(all.map(|o| vec![(self.nearest(o, 0.5), 1.)])),
            Interpolation::Linear { align_corners } => {
                self.map(all.map(|o| self.linear(self.place(o, align_corners))))
            }
            Interpolation::Cubic { align_corners } => {
                self.map(all.map(|o| self.cubic(self.place(o, align_corners))))
            }
        }
    }

    fn map(&self, outputs: impl Iterator<Item = Vec<(usize, f64)>>) -> Taps {
        Taps::new(self.inputs, outputs)
    }

    fn nearest(&self, o: usize, shift: f32) -> usize {
        // PyTorch's rounding: in single precision for every type of the image.
        let place = (o as f32 + shift) * self.scale as f32;
        (place as usize).min(self.inputs - 1)
    }

    fn place(&self, o: usize, align_corners: bool) -> f64 {
        match (align_corners, self.outputs) {
            (true, 1) => 0.,
            (true, m) => o as f64 * (self.inputs - 1) as f64 / (m - 1) as f64,
            (false, _) => (o as f64 + 0.5) * self.scale - 0.5,
        }
    }

    fn linear(&self, place: f64) -> Vec<(usize, f64)> {
        let place = place.max(0.);
        let last = self.inputs - 1;
        let i = (place as usize).min(last);
        let t = (place - i as f64).clamp(0., 1.);
        vec![(i, 1. - t), ((i + 1).min(last), t)]
    }

    fn cubic(&self, place: f64) -> Vec<(usize, f64)> {
        let (i, last) = (place.floor(), (self.inputs - 1) as f64);
        let tap = |k: i32| {
            let j = i + f64::from(k);
            (j.clamp(0., last) as usize, keys((place - j).abs()))
        };
        (-1..=2).map(tap).collect()
    }
}

/// The cubic convolution kernel at a distance of at most 2.
fn keys(d: f64) -> f64 {
    let a = -0.75;
    match d <= 1. {
        true => ((a + 2.) * d - (a + 3.)) * d * d + 1.,
        false => ((a * d - 5. * a) * d + 8. * a) * d - 4. * a,
    }
}
