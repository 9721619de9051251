//! What a model consists of: layers, output shapes, parameters, multiply-adds.
//!
//! There is no tree of modules to walk: while [`Summary::of`] runs a forward, every layer says what it
//! did with one line, [`record`]. When nothing listens that costs one look at a thread-local.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use candle_core::{Result, Tensor};

use crate::Params;
use crate::text_table::{TextTable, thousands};

thread_local! {
    static RECORD: RefCell<Option<Vec<SummaryRow>>> = const { RefCell::new(None) };
}

/// One run of a layer, or a parameter that no layer reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// The prefix of the layer's weights; empty where it has none.
    pub name: String,
    /// The layer's type, or `parameter`.
    pub kind: &'static str,
    /// The shape of the result, or of the parameter.
    pub output: Vec<usize>,
    /// Scalars of the layer's own parameters, buffers excluded; 0 when it ran before.
    pub parameters: usize,
    /// Those of them that are not frozen.
    pub trainable: usize,
    /// Products of a weight and a value, over the whole batch; norms, biases and activations are not
    /// counted, as in the tables of papers.
    pub multiply_adds: usize,
}

/// The layers of a model in the order in which they ran, with totals; printed as a table.
///
/// Parameters that no layer reported, such as a class token, come at the end by name, so the totals
/// hold for every model.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, models::Mlp, summary::Summary};
/// let params = Params::new(0, &Device::Cpu);
/// let model = Mlp::new(&Default::default(), params.vb())?;
/// let x = Tensor::zeros((1, 784), DType::F32, &Device::Cpu)?;
/// let summary = Summary::of(&params, || model.forward_t(&x, false))?;
/// assert_eq!(summary.parameters(), 55_050);
/// assert_eq!(summary.multiply_adds(), 784 * 64 + 64 * 64 + 64 * 10);
/// println!("{summary}");
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The rows of the table.
    pub rows: Vec<SummaryRow>,
}

impl Summary {
    /// Runs `forward` on this thread and lists the layers that ran, with what `params` holds of them.
    ///
    /// The forward should be one in evaluation: training changes running statistics.
    pub fn of<T>(params: &Params, forward: impl FnOnce() -> Result<T>) -> Result<Self> {
        let recording = Recording::start();
        forward()?;
        let mut rows = recording.finish();
        let mut rest: BTreeSet<String> = params.names().into_iter().collect();
        rest.retain(|name| !Params::is_buffer(name));
        for row in &mut rows {
            let own = rest.extract_if(.., |name| parent(name) == row.name);
            for name in own.collect::<Vec<_>>() {
                row.count(params, &name);
            }
        }
        rows.extend(rest.iter().map(|name| SummaryRow::parameter(params, name)));
        Ok(Self { rows })
    }

    /// Scalars in all parameters, buffers excluded.
    pub fn parameters(&self) -> usize {
        self.rows.iter().map(|row| row.parameters).sum()
    }

    /// Scalars in the parameters that are not frozen.
    pub fn trainable(&self) -> usize {
        self.rows.iter().map(|row| row.trainable).sum()
    }

    /// Products of a weight and a value in the forward that was run.
    pub fn multiply_adds(&self) -> usize {
        self.rows.iter().map(|row| row.multiply_adds).sum()
    }

    /// What the parameters take in f32, in millions of bytes.
    pub fn megabytes(&self) -> f64 {
        self.parameters() as f64 * 4. / 1e6
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = [
            "layer",
            "kind",
            "output",
            "parameters",
            "trainable",
            "multiply-adds",
        ];
        let mut table = TextTable::new(header, 3);
        for row in &self.rows {
            let numbers = [row.parameters, row.trainable, row.multiply_adds].map(thousands);
            let [parameters, trainable, products] = numbers;
            let (name, kind) = (row.name.clone(), row.kind.to_string());
            let output = format!("{:?}", row.output);
            table.push([name, kind, output, parameters, trainable, products]);
        }
        let totals = [self.parameters(), self.trainable(), self.multiply_adds()].map(thousands);
        let [parameters, trainable, products] = totals;
        let megabytes = format!("{:.1} MB in f32", self.megabytes());
        let total = "total".to_string();
        let row = [total, String::new(), megabytes, parameters, trainable, products];
        table.push(row);
        write!(f, "{table}")
    }
}

impl SummaryRow {
    fn parameter(params: &Params, name: &str) -> Self {
        let mut row = Self::ran(name, "parameter", vec![], 0);
        if let Some(var) = params.get(name) {
            row.output = var.dims().to_vec();
        }
        row.count(params, name);
        row
    }

    fn ran(name: &str, kind: &'static str, output: Vec<usize>, multiply_adds: usize) -> Self {
        Self {
            name: name.to_string(),
            kind,
            output,
            parameters: 0,
            trainable: 0,
            multiply_adds,
        }
    }

    fn count(&mut self, params: &Params, name: &str) {
        let size = params.get(name).map_or(0, |var| var.elem_count());
        self.parameters += size;
        if params.is_trainable(name) {
            self.trainable += size;
        }
    }
}

/// Says that the layer with this prefix gave `output`, should a [`Summary`] listen on this thread.
///
/// A layer keeps `vb.prefix()` and calls this at the end of its forward; [`products`] counts for
/// layers with a weight.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::{Params, summary::{Summary, record}};
/// let double = |x: &Tensor| {
///     let y = (x * 2.)?;
///     record("double", "Double", &y, || y.elem_count());
///     Ok(y)
/// };
/// let x = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// let summary = Summary::of(&Params::new(0, &Device::Cpu), || double(&x))?;
/// assert_eq!((summary.rows[0].name.as_str(), summary.multiply_adds()), ("double", 3));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn record(
    name: &str,
    kind: &'static str,
    output: &Tensor,
    multiply_adds: impl FnOnce() -> usize,
) {
    if RECORD.with_borrow(Option::is_none) {
        return;
    }
    let row = SummaryRow::ran(name, kind, output.dims().to_vec(), multiply_adds());
    RECORD.with_borrow_mut(|rows| rows.as_mut().map(|rows| rows.push(row)));
}

/// The products when every element of `values` meets all weights of one entry of the first dimension:
/// the results of a dense layer or a convolution, the inputs of a transposed one.
pub fn products(values: &Tensor, weight: &Tensor) -> usize {
    let units = weight.dims().first().copied().unwrap_or(1).max(1);
    values.elem_count() * (weight.elem_count() / units)
}

fn parent(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// Listens on this thread until it is dropped, then lets the one around it go on.
struct Recording(Option<Vec<SummaryRow>>);

impl Recording {
    fn start() -> Self {
        Self(RECORD.replace(Some(vec![])))
    }

    fn finish(self) -> Vec<SummaryRow> {
        RECORD.take().unwrap_or_default()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        RECORD.set(self.0.take());
    }
}
