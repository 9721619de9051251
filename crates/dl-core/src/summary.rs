//! What a model consists of: layers, output shapes, parameters, multiply-adds.
//!
//! There is no tree of modules to walk: while [`Summary::of`] runs a forward, every layer says what it
//! did with one line, [`record`]. When nothing listens that costs one look at a thread-local.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Result, Tensor};
use candle_nn::ModuleT;

use crate::Params;
use crate::text_table::{TextTable, thousands};

thread_local! {
    static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
}

/// What is done with a layer that ran.
enum Listener {
    /// Listed.
    Rows(Vec<Ran>),
    /// Named, if it is the first whose output is not finite.
    NonFinite(Option<String>),
}

/// A row, and whether the layer has weights under the row's name.
struct Ran {
    weights: bool,
    row: SummaryRow,
}

/// One run of a layer, or a parameter that no layer reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// The prefix of the layer's weights, or the parameter; empty where there is none.
    pub name: String,
    /// The layer's type, or `parameter`.
    pub kind: &'static str,
    /// The shape of the result, or of the parameter.
    pub output: Vec<usize>,
    /// Scalars of the layer's own parameters, buffers excluded; 0 when it ran before.
    pub parameters: usize,
    /// Those of them that are not frozen.
    pub trainable: usize,
    /// Products in dense layers, convolutions and attention, over the whole batch; norms, biases and
    /// activations are not counted, as in the tables of papers.
    pub multiply_adds: usize,
}

/// The layers of a model in the order in which they ran, with totals; printed as a table.
///
/// Parameters that no layer reported, such as a class token, come at the end, so the totals
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

/// The layers of a model on an input, in evaluation: `torchinfo`'s `summary`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use dl_core::{Params, layers::{linear, sequential}, summary::summary};
/// let params = Params::new(0, &Device::Cpu);
/// let model = sequential(params.vb()).add(|vb| linear(4, 3, vb))?.add(|vb| linear(3, 2, vb))?;
/// let x = Tensor::zeros((1, 4), DType::F32, &Device::Cpu)?;
/// let text = summary(&params, &model.build(), &x)?.to_string();
/// assert_eq!(text, "\
/// layer  kind    output         parameters  trainable  multiply-adds
/// 0      Linear  [1, 3]                 15         15             12
/// 1      Linear  [1, 2]                  8          8              6
/// total          0.0 MB in f32          23         23             18
/// ");
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn summary(params: &Params, model: &(impl ModuleT + ?Sized), x: &Tensor) -> Result<Summary> {
    Summary::of(params, || model.forward_t(x, false))
}

impl Summary {
    /// Runs `forward` on this thread and lists the layers that ran, with what `params` holds of them.
    ///
    /// It runs without a graph. It should be a forward in evaluation: one in training changes running
    /// statistics.
    pub fn of<T>(params: &Params, forward: impl FnOnce() -> Result<T>) -> Result<Self> {
        let recording = Recording::start(Listener::Rows(vec![]));
        dl_autograd::no_grad(forward)?;
        let Some(Listener::Rows(ran)) = recording.finish() else {
            candle_core::bail!("a summary inside the forward took the layers of this one")
        };
        let mut names = params.names();
        names.retain(|name| !Params::is_buffer(name));
        let mut unclaimed = by_parent(&names);
        let mut rows = Vec::with_capacity(ran.len());
        for Ran { weights, mut row } in ran {
            let own = weights.then(|| unclaimed.remove(row.name.as_str()));
            for name in own.flatten().into_iter().flatten() {
                row.count(params, name);
            }
            rows.push(row);
        }
        let rest = unclaimed.into_values().flatten();
        rows.extend(rest.map(|name| SummaryRow::parameter(params, name)));
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

    /// Products in the forward that was run.
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
        let row = [
            total,
            String::new(),
            megabytes,
            parameters,
            trainable,
            products,
        ];
        table.push(row);
        write!(f, "{table}")
    }
}

impl SummaryRow {
    fn parameter(params: &Params, name: &str) -> Self {
        let mut row = Self::new(name, "parameter", vec![], 0);
        if let Some(var) = params.get(name) {
            row.output = var.dims().to_vec();
        }
        row.count(params, name);
        row
    }

    fn new(name: &str, kind: &'static str, output: Vec<usize>, multiply_adds: usize) -> Self {
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

/// Says that a layer gave `output`, should a [`Summary`] listen on this thread.
///
/// A layer calls this at the end of its forward. Its name is the prefix of its weights,
/// `vb.prefix()`, or none if it has no weights of its own; [`products`] counts for dense layers and
/// convolutions.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::{Params, summary::{Summary, record}};
/// let double = |x: &Tensor| {
///     let y = (x * 2.)?;
///     record(None, "Double", &y, || y.elem_count());
///     Ok(y)
/// };
/// let x = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// let summary = Summary::of(&Params::new(0, &Device::Cpu), || double(&x))?;
/// assert_eq!((summary.rows[0].kind, summary.multiply_adds()), ("Double", 3));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn record(
    name: Option<&str>,
    kind: &'static str,
    output: &Tensor,
    multiply_adds: impl FnOnce() -> usize,
) {
    LISTENER.with_borrow_mut(|listener| match listener {
        None | Some(Listener::NonFinite(Some(_))) => {}
        Some(Listener::NonFinite(first)) => {
            if !is_finite(output) {
                let name = name.unwrap_or("without weights");
                *first = Some(format!("{kind} {name}"));
            }
        }
        Some(Listener::Rows(all)) => {
            let output = output.dims().to_vec();
            all.push(Ran {
                weights: name.is_some(),
                row: SummaryRow::new(name.unwrap_or_default(), kind, output, multiply_adds()),
            });
        }
    });
}

/// Whether something on this thread takes what layers [`record`].
pub(crate) fn listens() -> bool {
    LISTENER.with_borrow(|listener| listener.is_some())
}

/// The first layer of a forward whose output holds a NaN or an infinity, as `Linear blocks.3.fc`.
///
/// The forward runs without a graph. `None` also where no layer reports itself.
pub(crate) fn first_non_finite<T>(forward: impl FnOnce() -> Result<T>) -> Result<Option<String>> {
    let recording = Recording::start(Listener::NonFinite(None));
    dl_autograd::no_grad(forward)?;
    Ok(match recording.finish() {
        Some(Listener::NonFinite(first)) => first,
        _ => None,
    })
}

/// A tensor that cannot be read counts as finite.
pub(crate) fn is_finite(tensor: &Tensor) -> bool {
    let values = tensor
        .detach()
        .to_dtype(DType::F64)
        .and_then(|t| t.flatten_all()?.to_vec1::<f64>());
    values.map_or(true, |all| all.iter().all(|x| x.is_finite()))
}

/// The products when every element of `values` meets all weights of one entry of the first dimension:
/// the results of a dense layer or a convolution, the inputs of a transposed one.
pub fn products(values: &Tensor, weight: &Tensor) -> usize {
    let units = weight.dims().first().copied().unwrap_or(1).max(1);
    values.elem_count() * (weight.elem_count() / units)
}

/// The names by what stands before their last dot.
fn by_parent(names: &[String]) -> BTreeMap<&str, Vec<&str>> {
    let mut parents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let parent = name.rsplit_once('.').map_or("", |(parent, _)| parent);
        parents.entry(parent).or_default().push(name);
    }
    parents
}

/// Listens on this thread until it is dropped, then lets the one around it go on.
struct Recording(Option<Listener>);

impl Recording {
    fn start(listener: Listener) -> Self {
        Self(LISTENER.replace(Some(listener)))
    }

    fn finish(self) -> Option<Listener> {
        LISTENER.take()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        LISTENER.set(self.0.take());
    }
}
