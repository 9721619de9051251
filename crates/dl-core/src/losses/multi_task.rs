//! Several losses as one.

use std::fmt;

use candle_core::{Result, Tensor, bail};
use dl_autograd::{add, scale};

/// The loss of each sample: (outputs, targets) → `(n,)`.
type TaskLoss<'a> = Box<dyn Fn(&Tensor, &Tensor) -> Result<Tensor> + 'a>;

/// A weighted sum of losses that keep their names: several heads of one model, a penalty beside a loss.
///
/// ```text
/// L = Σₖ wₖ·Lₖ(outputs, targets)
/// ```
///
/// Each loss takes from the outputs and the targets the columns that are its own and gives one number a
/// sample. With [`Trainer::multi_task_loss`](crate::train::Trainer::multi_task_loss) the parts, without
/// their weights, are metrics beside the sum: `train_loss_NAME`, `eval_loss_NAME`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{MultiTaskLoss, Reduction, l1_loss, mse_loss};
/// let loss = MultiTaskLoss::new()
///     .task("square", 1., |z, y| mse_loss(z, y, Reduction::None))?
///     .task("absolute", 0.5, |z, y| l1_loss(z, y, Reduction::None))?;
/// let (z, y) = (Tensor::new(&[3f64], &Device::Cpu)?, Tensor::new(&[1f64], &Device::Cpu)?);
/// let found = loss.forward(&z, &y)?;
/// assert_eq!(found.total.to_vec1::<f64>()?, [4. + 0.5 * 2.]);
/// assert_eq!(found.parts[1].0, "absolute");
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Default)]
pub struct MultiTaskLoss<'a> {
    tasks: Vec<Task<'a>>,
}

struct Task<'a> {
    name: String,
    weight: f64,
    loss: TaskLoss<'a>,
}

/// What a [`MultiTaskLoss`] found.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{MultiTaskLoss, MultiTaskLosses};
/// let loss = MultiTaskLoss::new().task("output", 2., |z, _| Ok(z.clone()))?;
/// let z = Tensor::new(&[3f32], &Device::Cpu)?;
/// let MultiTaskLosses { total, parts } = loss.forward(&z, &z)?;
/// assert_eq!((total.to_vec1::<f32>()?, parts[0].1.to_vec1::<f32>()?), (vec![6.], vec![3.]));
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MultiTaskLosses {
    /// The weighted sum for each sample, `(n,)`.
    pub total: Tensor,
    /// The loss of each task, not weighted, in the order in which they were added.
    pub parts: Vec<(String, Tensor)>,
}

impl<'a> MultiTaskLoss<'a> {
    /// No task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task; an error if the name is taken or the weight is not a finite number `≥ 0`.
    pub fn task(
        mut self,
        name: impl Into<String>,
        weight: f64,
        loss: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + 'a,
    ) -> Result<Self> {
        let name = name.into();
        if !(weight.is_finite() && weight >= 0.) {
            bail!("the weight of the task `{name}` must be a finite number ≥ 0, got {weight}")
        }
        if self.tasks.iter().any(|task| task.name == name) {
            bail!("there are two tasks `{name}`")
        }
        let loss = Box::new(loss);
        self.tasks.push(Task { name, weight, loss });
        Ok(self)
    }

    /// The names of the tasks, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().map(|task| task.name.as_str())
    }

    /// The losses of a batch; an error without tasks or if their shapes differ.
    pub fn forward(&self, outputs: &Tensor, targets: &Tensor) -> Result<MultiTaskLosses> {
        let (mut total, mut parts) = (None, vec![]);
        for Task { name, weight, loss } in &self.tasks {
            let losses = loss(outputs, targets)?;
            let weighted = scale(&losses, *weight)?;
            total = Some(match total {
                None => weighted,
                Some(sum) => added(&sum, &weighted, name)?,
            });
            parts.push((name.clone(), losses.detach()));
        }
        match total {
            Some(total) => Ok(MultiTaskLosses { total, parts }),
            None => bail!("a multi-task loss has no task"),
        }
    }
}

fn added(sum: &Tensor, losses: &Tensor, name: &str) -> Result<Tensor> {
    if sum.shape() != losses.shape() {
        bail!(
            "the task `{name}` gives losses {:?}, those before it {:?}",
            losses.shape(),
            sum.shape()
        )
    }
    add(sum, losses)
}

impl fmt::Debug for MultiTaskLoss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.tasks.iter().map(|task| (&task.name, task.weight));
        f.debug_map().entries(tasks).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn refused(loss: Result<MultiTaskLoss>) -> String {
        loss.unwrap_err().to_string()
    }

    #[test]
    fn the_gradient_is_the_weighted_sum_and_a_weight_of_zero_leaves_a_metric() {
        let x = Var::new(&[2f64, -3.], &Device::Cpu).unwrap();
        let loss = MultiTaskLoss::new()
            .task("square", 0.5, |z, _| dl_autograd::mul(z, z))
            .and_then(|loss| loss.task("watched", 0., |z, _| dl_autograd::scale(z, 7.)));
        let found = loss.unwrap().forward(&x, &x).unwrap();
        assert_eq!(found.total.to_vec1::<f64>().unwrap(), [2., 4.5]);
        assert_eq!(found.parts[1].1.to_vec1::<f64>().unwrap(), [14., -21.]);
        let grads = found.total.sum_all().unwrap().backward().unwrap();
        assert_eq!(grads.get(&x).unwrap().to_vec1::<f64>().unwrap(), [2., -3.]);
    }

    #[test]
    fn what_cannot_be_added_up_is_refused_by_name() {
        let plain = |z: &Tensor, _: &Tensor| Ok(z.clone());
        let one = || MultiTaskLoss::new().task("depth", 1., plain).unwrap();
        let twice = refused(one().task("depth", 1., plain));
        assert!(twice.starts_with("there are two tasks `depth`"), "{twice}");
        let negative = refused(one().task("edges", -1., plain));
        assert!(
            negative.contains("`edges`") && negative.contains("got -1"),
            "{negative}"
        );
        let mean = one().task("edges", 1., |z, _| z.mean_all()).unwrap();
        let z = Tensor::new(&[1f32, 2.], &Device::Cpu).unwrap();
        let error = mean.forward(&z, &z).unwrap_err().to_string();
        assert!(
            error.starts_with("the task `edges` gives losses []"),
            "{error}"
        );
        assert!(MultiTaskLoss::new().forward(&z, &z).is_err());
    }
}
