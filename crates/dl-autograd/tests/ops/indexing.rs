//! Slices, scattering, extrema, running sums, powers.

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{
    add, amax, amin, cat, chunk, composed, cumsum, flatten_from, max, min, mul, narrow, pow, powf,
    reshape, scale, scatter, scatter_add, split, transpose, unbind,
};

use crate::case::{Case, case};

fn sum_of(parts: &[Tensor]) -> Result<Tensor> {
    let mut sum = parts[0].clone();
    for (i, part) in parts.iter().enumerate().skip(1) {
        sum = add(&sum, &scale(part, i as f64 + 1.)?)?;
    }
    Ok(sum)
}

/// The largest negative numbers have a whole exponent only.
fn whole_exponents(shape: (usize, usize)) -> Result<Tensor> {
    let values = (0..shape.0 * shape.1).map(|i| (i % 5) as f64 - 1.);
    Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu)
}

/// `x² + 1/2`.
fn positive(x: &Tensor) -> Result<Tensor> {
    add(&mul(x, x)?, &x.detach().zeros_like()?.affine(1., 0.5)?)
}

pub fn cases() -> Vec<Case> {
    let mut cases = slices();
    cases.extend(indices());
    cases.extend([
        case("max over the last", &[&[3, 5]], |t| Ok(max(&t[0], 1)?.0)),
        case("max over the middle", &[&[2, 7, 3]], |t| {
            Ok(max(&t[0], 1)?.0)
        }),
        case(
            "min over the first of a transposed input",
            &[&[4, 6]],
            |t| Ok(min(&transpose(&t[0], 0, 1)?, 0)?.0),
        ),
        case("amax over the middle", &[&[2, 7, 3]], |t| amax(&t[0], 1)),
        case("amin over the last", &[&[3, 5]], |t| amin(&t[0], 1)),
        case("cumsum over the last", &[&[3, 7]], |t| cumsum(&t[0], 1)),
        case("cumsum over the middle", &[&[2, 5, 3]], |t| {
            cumsum(&t[0], 1)
        }),
        case("cumsum of a transposed input", &[&[5, 3]], |t| {
            cumsum(&transpose(&t[0], 0, 1)?, 1)
        }),
        case("pow of any base", &[&[3, 5]], |t| {
            pow(&t[0], &whole_exponents((3, 5))?.to_dtype(t[0].dtype())?)
        }),
        case("pow of a positive base", &[&[3, 5], &[3, 5]], |t| {
            pow(&positive(&t[0])?, &t[1])
        }),
        case("pow with a row of exponents", &[&[3, 5], &[5]], |t| {
            pow(&positive(&t[0])?, &t[1])
        }),
        case("powf 3", &[&[3, 5]], |t| powf(&t[0], 3.)),
        case("powf 2", &[&[3, 5]], |t| powf(&t[0], 2.)),
        case("powf of a root", &[&[3, 5]], |t| {
            powf(&positive(&t[0])?, -0.5)
        }),
    ]);
    cases
}

fn slices() -> Vec<Case> {
    vec![
        case("narrow of the second", &[&[3, 5]], |t| {
            narrow(&t[0], 1, 1, 3)
        }),
        case("narrow of the first", &[&[5, 3]], |t| {
            narrow(&t[0], 0, 3, 2)
        }),
        case("split", &[&[2, 6, 3]], |t| {
            let parts = split(&t[0], &[1, 3, 2], 1)?;
            cat(&[&parts[2], &scale(&parts[1], 2.)?], 1)
        }),
        case("split of a transposed input", &[&[6, 2]], |t| {
            let parts = split(&transpose(&t[0], 0, 1)?, &[3, 3], 1)?;
            mul(&parts[0], &parts[1])
        }),
        case("chunk", &[&[5, 4]], |t| {
            let parts = chunk(&t[0], 2, 0)?;
            cat(&[&scale(&parts[1], 3.)?, &parts[0]], 0)
        }),
        case("unbind", &[&[3, 4, 2]], |t| sum_of(&unbind(&t[0], 1)?)),
        case("transpose", &[&[3, 4, 2]], |t| transpose(&t[0], 0, 2)),
        case("reshape of a transposed input", &[&[3, 4]], |t| {
            reshape(&transpose(&t[0], 0, 1)?, (2, ()))
        }),
        case("flatten_from the second", &[&[3, 4, 2]], |t| {
            flatten_from(&t[0], 1)
        }),
        case("mul", &[&[3, 5], &[3, 5]], |t| mul(&t[0], &t[1])),
        case("mul of a tensor with itself", &[&[3, 5]], |t| {
            mul(&t[0], &t[0])
        }),
        case("scale", &[&[3, 5]], |t| scale(&t[0], -1.5)),
        case("scale by 0", &[&[3, 5]], |t| scale(&t[0], 0.)),
        case("cat", &[&[2, 3], &[2, 1], &[2, 2]], |t| {
            cat(&[&t[0], &t[1], &t[2], &t[1]], 1)
        }),
    ]
}

/// Rows 0 and 2 of column 0 are written twice by `scatter_add`; `scatter` writes each place once.
fn indices() -> Vec<Case> {
    let index = |rows: [[u32; 3]; 2]| Tensor::new(&rows, &Device::Cpu);
    vec![
        case("scatter", &[&[4, 3], &[2, 3]], move |t| {
            scatter(&t[0], 0, &index([[0, 3, 1], [2, 1, 0]])?, &t[1])
        }),
        case("scatter along the last", &[&[2, 5], &[2, 3]], move |t| {
            scatter(&t[0], 1, &index([[0, 3, 1], [2, 1, 4]])?, &t[1])
        }),
        case("scatter_add", &[&[4, 3], &[2, 3]], move |t| {
            scatter_add(&t[0], 0, &index([[0, 3, 1], [0, 1, 0]])?, &t[1])
        }),
        case(
            "scatter_add along the last",
            &[&[2, 5], &[2, 3]],
            move |t| scatter_add(&t[0], 1, &index([[3, 3, 3], [2, 1, 2]])?, &t[1]),
        ),
    ]
}

fn gradient(values: &[f64], f: impl Fn(&Tensor) -> Result<Tensor>) -> (Vec<f64>, Vec<f64>) {
    let x = Var::new(values, &Device::Cpu).unwrap();
    let y = f(&x).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    (flat(&y), flat(grads.get(&x).unwrap()))
}

#[test]
fn of_equal_elements_max_takes_the_first_and_amax_shares() {
    let x = [1., 3., 3., 2.];
    for run in [true, false] {
        let wrap = |f: &dyn Fn() -> (Vec<f64>, Vec<f64>)| if run { f() } else { composed(f) };
        let first = wrap(&|| gradient(&x, |x| Ok(max(x, 0)?.0)));
        assert_eq!(first, (vec![3.], vec![0., 1., 0., 0.]));
        let shared = wrap(&|| gradient(&x, |x| amax(x, 0)));
        assert_eq!(shared, (vec![3.], vec![0., 0.5, 0.5, 0.]));
        let least = wrap(&|| gradient(&[2., 1., 1.], |x| amin(x, 0)));
        assert_eq!(least, (vec![1.], vec![0., 0.5, 0.5]));
    }
}

#[test]
fn a_nan_is_the_largest_and_the_smallest() {
    let x = Tensor::new(&[1f32, f32::NAN, 3., f32::NAN], &Device::Cpu).unwrap();
    for (y, index) in [max(&x, 0).unwrap(), min(&x, 0).unwrap()] {
        assert!(y.to_scalar::<f32>().unwrap().is_nan());
        assert_eq!(index.to_scalar::<u32>().unwrap(), 1);
    }
}

#[test]
fn of_an_index_written_twice_the_last_stays_and_gets_the_gradient() {
    let index = Tensor::new(&[1u32, 0, 1], &Device::Cpu).unwrap();
    let init = Tensor::zeros(3, DType::F64, &Device::Cpu).unwrap();
    let (y, grad) = gradient(&[5., 6., 7.], |src| scatter(&init, 0, &index, src));
    assert_eq!((y, grad), (vec![6., 7., 0.], vec![0., 1., 1.]));
}

/// The values of `torch.pow` and of its gradients at the corners.
#[test]
fn pow_has_pytorchs_corners() {
    let exponent = Tensor::new(&[0f64, 2., 1., 0.5, 0.], &Device::Cpu).unwrap();
    let base = [-2., 0., 0., -1., 0.];
    let run = || gradient(&base, |x| pow(x, &exponent));
    for (y, grad) in [run(), composed(run)] {
        assert_eq!(y[..3], [1., 0., 0.]);
        assert!(y[3].is_nan() && y[4] == 1.);
        assert_eq!(grad[..3], [0., 0., 1.]);
        assert!(grad[3].is_nan() && grad[4] == 0.);
    }
    let zero = Tensor::zeros(3, DType::F64, &Device::Cpu).unwrap();
    let run = || gradient(&[2., 0., 1.], |y| pow(&zero, y));
    assert_eq!(run(), (vec![0., 1., 0.], vec![0.; 3]));
    assert_eq!(composed(run), run());
    assert_eq!(gradient(&[0., -3.], |x| powf(x, 0.)).1, [0., 0.]);
}

/// A backward that meets only some of the slices leaves zeros for the others, twice over.
#[test]
fn a_slice_that_is_not_used_gets_a_gradient_of_zeros() {
    let x = Var::new(&[1f32, 2., 3.], &Device::Cpu).unwrap();
    let parts = split(&x, &[1, 1, 1], 0).unwrap();
    for i in [2, 0] {
        let grads = parts[i].sum_all().unwrap().backward().unwrap();
        let mut wanted = [0f32; 3];
        wanted[i] = 1.;
        assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>().unwrap(), wanted);
    }
}

#[test]
fn slices_of_an_untracked_tensor_share_its_memory() {
    let x = Tensor::zeros((2, 6), DType::F32, &Device::Cpu).unwrap();
    for part in split(&x, &[2, 4], 1).unwrap() {
        assert_eq!(part.stride(), x.stride());
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let t = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let says = |result: Result<Tensor>, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    let first = |parts: Result<Vec<Tensor>>| parts.map(|p| p[0].clone());
    says(first(split(&t(&[2, 5]), &[2, 2], 1)), "sizes [2, 2]");
    says(first(split(&t(&[2, 5]), &[2], 2)), "dimension 2");
    says(
        first(chunk(&t(&[2, 5]), 0, 1)),
        "chunks of 1 or more, got 0",
    );
    says(first(unbind(&t(&[2, 5]), 2)), "dimension 2");
    assert!(narrow(&t(&[2, 5]), 1, 3, 3).is_err());
    says(cumsum(&t(&[2]), 1), "dimension 1");
    says(amax(&t(&[2, 0]), 1), "dimension 1");
    assert!(pow(&t(&[2]), &t(&[3])).is_err());
    let index = Tensor::new(&[0i64, -1], &Device::Cpu).unwrap();
    says(scatter(&t(&[4]), 0, &index, &t(&[2])), "index -1");
    says(scatter_add(&t(&[4]), 0, &index, &t(&[3])), "src [3]");
    says(scatter(&t(&[4]), 1, &index, &t(&[2])), "dimension 1");
}
