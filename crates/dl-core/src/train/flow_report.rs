//! Which parameters a backward reached, and with what.

use std::fmt;

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var};
use dl_autograd::backward;

use crate::text_table::{TextTable, thousands};

/// Which of these parameters the backward of `loss` reaches, and with what: to find a cut graph, a
/// layer that is not used, a gradient that vanishes, explodes or is NaN.
///
/// The backward is [`dl_autograd::backward`], which takes what the innermost [`Tape`] holds: a second
/// backward of the same loss is left to candle's own. Where the gradients are there already,
/// [`FlowReport::of`] reports them.
///
/// [`Tape`]: dl_autograd::Tape
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, train::flow_report};
/// let params = Params::new(0, &Device::Cpu);
/// let used = params.vb().get(2, "used")?;
/// params.vb().get(2, "forgotten")?;
/// let report = flow_report(&(used * 3.)?.sum_all()?, &params.trainable())?;
/// assert_eq!(report.missing(), ["forgotten"]);
/// assert_eq!(report.norm(), 18f64.sqrt());
/// assert_eq!(report.to_string(), "\
/// parameter               elements  gradient norm
/// forgotten  no gradient         2              -
/// used                           2        4.243e0
/// total                          4        4.243e0
/// ");
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn flow_report(loss: &Tensor, vars: &[(String, Var)]) -> Result<FlowReport> {
    let vars = vars.iter().map(|(name, var)| (name.as_str(), var));
    FlowReport::of(&backward(loss)?, vars)
}

/// What a backward gave one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientFlow {
    /// The parameter.
    pub name: String,
    /// Number of its scalars.
    pub elements: usize,
    /// The Euclidean norm of its gradient; none if it got none.
    pub norm: Option<f64>,
    /// Number of NaNs in its gradient.
    pub nan: usize,
    /// Number of infinite values in its gradient.
    pub infinite: usize,
}

/// A row for every parameter, in the order they came; printed as a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowReport {
    /// The rows of the table.
    pub rows: Vec<GradientFlow>,
}

impl FlowReport {
    /// The gradients of these parameters, such as those of an optimizer.
    pub fn of<'a>(
        grads: &GradStore,
        parameters: impl IntoIterator<Item = (&'a str, &'a Var)>,
    ) -> Result<Self> {
        let row = |(name, var)| GradientFlow::of(name, var, grads);
        let rows = parameters.into_iter().map(row);
        Ok(Self {
            rows: rows.collect::<Result<_>>()?,
        })
    }

    /// The parameters without a gradient.
    pub fn missing(&self) -> Vec<String> {
        self.names(|row| row.norm.is_none())
    }

    /// The parameters whose gradient has a NaN or an infinite value.
    pub fn non_finite(&self) -> Vec<String> {
        self.names(|row| row.nan + row.infinite > 0)
    }

    /// The Euclidean norm of all gradients together.
    pub fn norm(&self) -> f64 {
        let norms = self.rows.iter().filter_map(|row| row.norm);
        norms.map(|norm| norm * norm).sum::<f64>().sqrt()
    }

    fn names(&self, chosen: impl Fn(&GradientFlow) -> bool) -> Vec<String> {
        let rows = self.rows.iter().filter(|row| chosen(row));
        rows.map(|row| row.name.clone()).collect()
    }
}

impl GradientFlow {
    fn of(name: &str, var: &Var, grads: &GradStore) -> Result<Self> {
        let mut row = Self {
            name: name.to_string(),
            elements: var.elem_count(),
            norm: None,
            nan: 0,
            infinite: 0,
        };
        if let Some(grad) = grads.get(var) {
            let norm = dl_optim::global_norm([grad])?;
            row.norm = Some(norm);
            if !norm.is_finite() {
                let values = grad.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                row.nan = values.iter().filter(|x| x.is_nan()).count();
                row.infinite = values.iter().filter(|x| x.is_infinite()).count();
            }
        }
        Ok(row)
    }

    fn note(&self) -> String {
        let counts = [(self.nan, "NaN"), (self.infinite, "infinite")];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let counts = counts.map(|(count, what)| format!("{} {what}", thousands(count)));
        match self.norm {
            None => "no gradient".to_string(),
            Some(0.) => "all zero".to_string(),
            Some(_) => counts.collect::<Vec<_>>().join(", "),
        }
    }
}

impl fmt::Display for FlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = TextTable::new(["parameter", "", "elements", "gradient norm"], 2);
        for row in &self.rows {
            let norm = row
                .norm
                .map_or("-".to_string(), |norm| format!("{norm:.3e}"));
            let elements = thousands(row.elements);
            table.push([row.name.clone(), row.note(), elements, norm]);
        }
        let elements = self.rows.iter().map(|row| row.elements).sum();
        let norm = format!("{:.3e}", self.norm());
        table.push(["total".into(), String::new(), thousands(elements), norm]);
        write!(f, "{table}")
    }
}
