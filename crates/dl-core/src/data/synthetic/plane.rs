//! Classes of points in the plane.

use std::f64::consts::TAU;

use candle_core::{Device, Tensor};
use dl_autograd::{Purpose, Rng};

use crate::data::option::above_zero;
use crate::data::{DataError, TensorDataset};

/// How many points of how many classes, with how much noise.
pub(super) struct Plane {
    /// Keys the noise, so that two kinds of sets have noises of their own.
    pub name: &'static str,
    pub samples: usize,
    pub classes: usize,
    pub noise: f64,
    pub seed: u64,
}

impl Plane {
    /// Item i is of class i mod classes; `point(class, t)` is where it lies before the noise, `t` from 0
    /// to 1 along the class.
    pub fn dataset(
        &self,
        point: impl Fn(usize, f64) -> [f64; 2],
    ) -> Result<TensorDataset, DataError> {
        above_zero("samples", self.samples)?;
        above_zero("classes", self.classes)?;
        check_noise(self.noise)?;
        let mut noise = vec![0f32; 2 * self.samples];
        Rng::named(self.seed, Purpose::Noise, self.name).fill_normal(&mut noise);
        let at = |i: usize| {
            let of_class = (self.samples - i % self.classes).div_ceil(self.classes);
            let t = (i / self.classes) as f64 / (of_class - 1).max(1) as f64;
            point(i % self.classes, t)
        };
        let points = (0..self.samples).flat_map(at).zip(noise);
        let points = points.map(|(x, noise)| (x + self.noise * f64::from(noise)) as f32);
        let labels = (0..self.samples).map(|i| (i % self.classes) as u32);
        TensorDataset::new(
            Tensor::from_vec(
                points.collect::<Vec<f32>>(),
                (self.samples, 2),
                &Device::Cpu,
            )?,
            Tensor::from_vec(labels.collect::<Vec<u32>>(), self.samples, &Device::Cpu)?,
        )
    }
}

/// Refuses a deviation that is none.
pub(super) fn check_noise(noise: f64) -> Result<(), DataError> {
    match noise.is_finite() && noise >= 0.0 {
        true => Ok(()),
        false => Err(DataError::Option {
            option: "noise",
            wanted: "finite and at least 0",
            came: noise.to_string(),
        }),
    }
}

/// The point at this share of a turn and this distance from the middle.
pub(super) fn polar(turns: f64, radius: f64) -> [f64; 2] {
    let (sin, cos) = (TAU * turns).sin_cos();
    [radius * cos, radius * sin]
}
