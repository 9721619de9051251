//! Which parameters a backward reached, and with what.

use std::fmt;

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var};

use crate::Params;
use crate::text_table::{TextTable, thousands};

/// The gradients of all trainable parameters of `params`.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, train::flow_report};
/// let params = Params::new(0, &Device::Cpu);
/// let used = params.vb().get(2, "used")?;
/// params.vb().get(2, "forgotten")?;
/// let report = flow_report(&(used * 3.)?.sum_all()?.backward()?, &params)?;
/// assert_eq!(report.missing(), ["forgotten"]);
/// assert_eq!(report.norm(), 18f64.sqrt());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn flow_report(grads: &GradStore, params: &Params) -> Result<FlowReport> {
    let trainable = params.trainable();
    FlowReport::of(grads, trainable.iter().map(|(n, v)| (n.as_str(), v)))
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
    /// Number of NaN and infinite values in its gradient.
    pub non_finite: usize,
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
        self.names(|row| row.non_finite > 0)
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
            non_finite: 0,
        };
        if let Some(grad) = grads.get(var) {
            let norm = dl_optim::global_norm([grad])?;
            row.norm = Some(norm);
            if !norm.is_finite() {
                row.non_finite = count_non_finite(grad)?;
            }
        }
        Ok(row)
    }

    fn note(&self) -> String {
        match (self.norm, self.non_finite) {
            (None, _) => "no gradient".to_string(),
            (_, 1..) => format!("{} not finite", thousands(self.non_finite)),
            (Some(0.), _) => "all zero".to_string(),
            _ => String::new(),
        }
    }
}

fn count_non_finite(grad: &Tensor) -> Result<usize> {
    let values = grad.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(values.iter().filter(|x| !x.is_finite()).count())
}

impl fmt::Display for FlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = TextTable::new(["parameter", "", "elements", "gradient norm"], 2);
        for row in &self.rows {
            let norm = row.norm.map_or("-".to_string(), |norm| format!("{norm:.3e}"));
            let elements = thousands(row.elements);
            table.push([row.name.clone(), row.note(), elements, norm]);
        }
        let elements = self.rows.iter().map(|row| row.elements).sum();
        let norm = format!("{:.3e}", self.norm());
        table.push(["total".into(), String::new(), thousands(elements), norm]);
        write!(f, "{table}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn missing_zero_and_non_finite_gradients_are_told_apart() {
        let params = Params::new(0, &Device::Cpu);
        let get = |name| params.vb().get(3, name).unwrap();
        let (good, zero, root) = (get("a.good"), get("b.zero"), get("c.root"));
        get("d.cut");
        get("e.frozen");
        params.freeze("e.*").unwrap();
        // The root of zero has an infinite slope.
        let loss = ((good + (zero * 0.).unwrap()).unwrap() + root.sqrt().unwrap()).unwrap();
        let report = flow_report(&loss.sum_all().unwrap().backward().unwrap(), &params).unwrap();
        assert_eq!(report.missing(), ["d.cut"]);
        assert_eq!(report.non_finite(), ["c.root"]);
        assert_eq!(report.rows[0].norm, Some(3f64.sqrt()));
        let text = report.to_string();
        for line in [
            "a.good                            3        1.732e0",
            "b.zero     all zero               3          0e0",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
