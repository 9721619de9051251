//! What a report of gradients names: cut graphs, NaNs, vanished gradients.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Result, Tensor};
use candle_nn::Module;
use dl_autograd::{Tape, backward, sum};
use dl_core::Params;
use dl_core::layers::{layer_norm, linear};
use dl_core::train::{FlowReport, flow_report};

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap()
}

/// candle's layer norm has no backward on the CPU and cuts the graph; ours has one.
fn loss(params: &Params, cut: bool) -> Result<Tensor> {
    let vb = params.vb();
    let x = linear(3, 4, vb.pp("fc1"))?.forward(&ones(&[2, 3]))?;
    let x = match cut {
        true => candle_nn::layer_norm(4, 1e-5, vb.pp("norm"))?.forward(&x)?,
        false => layer_norm(4, 1e-5, vb.pp("norm"))?.forward(&x)?,
    };
    let y = linear(4, 2, vb.pp("fc2"))?.forward(&x)?;
    sum(&dl_autograd::mul(&y, &y)?)
}

#[test]
fn the_parameters_before_a_cut_are_named() {
    for tape in [false, true] {
        let params = Params::new(0, &Device::Cpu);
        let _tape = tape.then(Tape::new);
        let cut = loss(&params, true).unwrap();
        let report = flow_report(&cut, &params.trainable()).unwrap();
        assert_eq!(
            report.missing(),
            ["fc1.bias", "fc1.weight", "norm.bias", "norm.weight"]
        );
        let whole = loss(&params, false).unwrap();
        let report = flow_report(&whole, &params.trainable()).unwrap();
        assert!(report.missing().is_empty() && report.non_finite().is_empty());
    }
}

#[test]
fn a_report_leaves_the_gradients_of_a_later_backward_as_they_are() {
    let params = Params::new(0, &Device::Cpu);
    let _tape = Tape::new();
    let loss = loss(&params, false).unwrap();
    let first = flow_report(&loss, &params.trainable()).unwrap();
    let vars = params.trainable();
    let vars = vars.iter().map(|(name, var)| (name.as_str(), var));
    let second = FlowReport::of(&backward(&loss).unwrap(), vars).unwrap();
    assert_eq!(first, second);
}

#[test]
fn missing_zero_and_non_finite_gradients_are_told_apart() {
    let params = Params::new(0, &Device::Cpu);
    let get = |name| params.vb().get(3, name).unwrap();
    let (good, zero, root) = (get("a.good"), get("b.zero"), get("c.root"));
    let nan = get("d.nan");
    get("e.cut");
    get("f.frozen");
    params.freeze("f.*").unwrap();
    // candle does not walk through a factor that is the number 0, only through a tensor of it.
    let none = ones(&[3]).zeros_like().unwrap();
    // The root of zero has an infinite slope; 0·∞ is not a number.
    let roots = (root.sqrt().unwrap() + (nan.sqrt().unwrap() * &none).unwrap()).unwrap();
    let loss = ((good + (zero * &none).unwrap()).unwrap() + roots).unwrap();
    let report = flow_report(&loss.sum_all().unwrap(), &params.trainable()).unwrap();
    assert_eq!(report.missing(), ["e.cut"]);
    assert_eq!(report.non_finite(), ["c.root", "d.nan"]);
    assert_eq!(report.rows[0].norm, Some(3f64.sqrt()));
    assert_eq!((report.rows[2].nan, report.rows[2].infinite), (0, 3));
    assert_eq!((report.rows[3].nan, report.rows[3].infinite), (3, 0));
    let expected = "\
parameter               elements  gradient norm
a.good                         3        1.732e0
b.zero     all zero            3        0.000e0
c.root     3 infinite          3            inf
d.nan      3 NaN               3            NaN
e.cut      no gradient         3              -
total                         15            NaN
";
    assert_eq!(report.to_string(), expected);
}

#[test]
fn a_nan_in_the_data_is_found_in_every_layer_before_the_loss() {
    let params = Params::new(0, &Device::Cpu);
    let layer = linear(3, 2, params.vb().pp("fc")).unwrap();
    let x = Tensor::new(&[[1f32, f32::NAN, 0.]], &Device::Cpu).unwrap();
    let y = layer.forward(&x).unwrap();
    let report = flow_report(&sum(&y).unwrap(), &params.trainable()).unwrap();
    // One column of the weight meets the NaN; the bias meets none.
    assert_eq!(report.non_finite(), ["fc.weight"]);
    assert_eq!(report.rows[1].nan, 2);
}
