//! How much an activation shrinks its input.

/// The activation behind a layer, which its initialisation makes up for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// None: gain 1.
    Linear,
    /// Gain 1, as PyTorch has it.
    Sigmoid,
    /// Gain 5/3.
    Tanh,
    /// Gain √2.
    Relu,
    /// With this slope below zero, PyTorch's default being `0.01`: gain √(2 / (1 + slope²)).
    LeakyRelu(f64),
    /// Gain 3/4.
    Selu,
}

impl Nonlinearity {
    /// The factor on the standard deviation: `torch.nn.init.calculate_gain`.
    ///
    /// ```
    /// use dl_core::init::Nonlinearity;
    /// assert_eq!(Nonlinearity::LeakyRelu(1.).gain(), 1.);
    /// assert_eq!(Nonlinearity::Tanh.gain(), 5. / 3.);
    /// ```
    pub fn gain(self) -> f64 {
        match self {
            Self::Linear | Self::Sigmoid => 1.,
            Self::Tanh => 5. / 3.,
            Self::Relu => 2f64.sqrt(),
            Self::LeakyRelu(slope) => (2. / (1. + slope * slope)).sqrt(),
            Self::Selu => 0.75,
        }
    }
}
