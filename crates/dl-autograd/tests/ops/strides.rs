//! Operands that do not lie in order: what an op gives for a view is what it gives for a copy of it.

use candle_core::{D, DType, Result, Tensor, Var};
use dl_autograd::composed;

use crate::case::{Case, inputs};
use crate::every_case;

/// How a tensor may lie in memory: from its values to what is stored, and from that and its
/// dimensions to the view that an op gets.
struct Layout {
    name: &'static str,
    store: fn(&Tensor) -> Result<Tensor>,
    view: fn(&Tensor, &[usize]) -> Result<Tensor>,
}

const LAYOUTS: [Layout; 5] = [
    Layout {
        name: "the last dimension first",
        store: |x| reversed(x)?.contiguous(),
        view: |stored, _| reversed(stored),
    },
    Layout {
        name: "in the middle of a larger tensor",
        store: |x| (0..x.rank()).try_fold(x.clone(), |x, dim| between_nans(&x, dim)),
        view: |stored, dims| {
            let of = |x: Tensor, (dim, &len): (usize, &usize)| x.narrow(dim, 1, len);
            dims.iter().enumerate().try_fold(stored.clone(), of)
        },
    },
    Layout {
        name: "every second element",
        store: |x| Tensor::stack(&[x, &nans(x)?], D::Minus1),
        view: |stored, _| stored.narrow(D::Minus1, 0, 1)?.squeeze(D::Minus1),
    },
    Layout {
        name: "the same along the first dimension",
        store: |x| {
            if x.rank() > 0 {
                x.narrow(0, 0, 1)
            } else {
                Ok(x.clone())
            }
        },
        view: |stored, dims| stored.broadcast_as(dims),
    },
    Layout {
        name: "the same along the last dimension",
        store: |x| {
            if x.rank() > 0 {
                x.narrow(D::Minus1, 0, 1)
            } else {
                Ok(x.clone())
            }
        },
        view: |stored, dims| stored.broadcast_as(dims),
    },
];

fn reversed(x: &Tensor) -> Result<Tensor> {
    x.permute((0..x.rank()).rev().collect::<Vec<_>>())
}

/// What must never be read.
fn nans(like: &Tensor) -> Result<Tensor> {
    like.ones_like()?.affine(f64::NAN, 0.)
}

fn between_nans(x: &Tensor, dim: usize) -> Result<Tensor> {
    let nan = nans(&x.narrow(dim, 0, 1)?)?;
    Tensor::cat(&[&nan, x, &nan], dim)
}

/// The result and the gradients of what is stored, of the views or of copies of them.
fn run(case: &Case, layout: &Layout, copy: bool) -> Result<Vec<Tensor>> {
    let values = inputs(case, DType::F64);
    let stored = values.iter().map(|x| Var::from_tensor(&(layout.store)(x)?));
    let stored = stored.collect::<Result<Vec<_>>>()?;
    let views = stored.iter().zip(&case.1).map(|(stored, dims)| {
        let view = (layout.view)(stored, dims)?;
        if copy {
            view.force_contiguous()
        } else {
            Ok(view)
        }
    });
    let y = case.2(&views.collect::<Result<Vec<_>>>()?)?;
    let grads = y.sqr()?.sum_all()?.backward()?;
    let mut all = vec![y.detach()];
    for var in &stored {
        let lost = || candle_core::Error::msg(format!("{} lost an input", case.0));
        all.push(grads.get(var).ok_or_else(lost)?.clone());
    }
    Ok(all)
}

/// What differs between the two, if anything. A product reads views where they lie and may then add
/// in another order; f64 keeps 16 digits.
fn complaint(case: &Case, layout: &Layout) -> Option<String> {
    let what = format!("{}, {}", case.0, layout.name);
    let (views, copies) = match (run(case, layout, false), run(case, layout, true)) {
        (Ok(views), Ok(copies)) => (views, copies),
        (Err(error), _) | (_, Err(error)) => {
            let error = error.to_string();
            return Some(format!("{what}: {}", error.lines().next().unwrap()));
        }
    };
    for (view, copy) in views.iter().zip(&copies) {
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let (view, copy) = (flat(view), flat(copy));
        let finite = copy.iter().filter(|x| x.is_finite());
        let scale = finite.fold(1f64, |m, x| m.max(x.abs()));
        for (a, b) in view.iter().zip(&copy) {
            let same = a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-13 * scale;
            if !same {
                return Some(format!("{what}: {a} and {b}"));
            }
        }
    }
    None
}

#[test]
fn every_op_gives_for_views_what_it_gives_for_copies() {
    let mut complaints = vec![];
    for case in every_case() {
        for layout in &LAYOUTS {
            complaints.extend(complaint(&case, layout));
            complaints.extend(composed(|| complaint(&case, layout)));
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}
