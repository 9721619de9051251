//! A PyTorch optimizer's `.pth` continued by ours.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use dl_optim::{Optimizer, Sgd};
use dl_transfer::Checkpoint;

/// `torch.save({"epoch": 3, "optimizer": sgd.state_dict()})` of `tools/reference/optim.py`, which
/// numbers the parameters in this order.
#[test]
fn the_slots_of_a_saved_torch_optimizer_arrive_under_their_parameters() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dl-optim/tests/fixtures");
    let file = Checkpoint::open_entry(folder.join("torch_state.pth"), "optimizer").unwrap();
    let mut tensors = BTreeMap::new();
    for name in file.names() {
        let tensor = file.tensor(name, &Device::Cpu).unwrap();
        tensors.insert(name.to_string(), tensor);
    }
    let order = ["weight", "gain", "conv", "bias"];
    let shapes: [&[usize]; 4] = [&[4, 5], &[], &[2, 3, 2], &[5]];
    let params = order.iter().zip(shapes).map(|(name, shape)| {
        let var = Var::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        (name.to_string(), var)
    });
    let rule = Sgd {
        momentum: 0.9,
        ..Sgd::default()
    };
    let mut sgd = Optimizer::new(params, rule).unwrap();
    sgd.load_torch_state(&tensors, &order).unwrap();
    let state = sgd.state().unwrap();
    for (number, name) in order.iter().enumerate() {
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let saved = flat(&tensors[&format!("state.{number}.momentum_buffer")]);
        assert!(saved.iter().any(|x| *x != 0.0), "{name}");
        assert_eq!(
            flat(&state.tensors[&format!("{name}.momentum_buffer")]),
            saved
        );
    }
}
