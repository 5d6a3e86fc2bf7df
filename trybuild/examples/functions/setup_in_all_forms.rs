//! A state with a constructor, with a fallible or a generic constructor, and with a teardown.
use retry_runtime::function;

struct Model {
    weights: Vec<f64>,
}

fn load() -> Model {
    Model { weights: vec![1.0] }
}

fn try_load() -> Result<Model, std::io::Error> {
    Ok(load())
}

fn close(model: Model) {
    drop(model);
}

#[function(setup = load)]
fn shared(model: &Model, x: f64) -> f64 {
    model.weights[0] * x
}

#[function(setup = try_load, teardown = close)]
fn changed(model: &mut Model, x: f64) {
    model.weights.push(x);
}

#[function(setup = || vec![1u8, 2], teardown = |bytes| drop(bytes))]
async fn closure(state: &Vec<u8>) -> usize {
    state.len()
}

fn make<T: From<u8>>() -> T {
    T::from(3)
}

#[function(setup = make)]
fn generic(state: &u64) -> u64 {
    *state
}

#[function(setup = Default::default)]
fn default(state: &mut Vec<u8>) {
    state.push(1);
}

pub(crate) fn main() {
    assert_eq!(shared(&load(), 2.0), 2.0);
    let _ = shared.remote(2.0);
    let _ = changed.for_each([1.0, 2.0]);
    let _ = closure.remote();
    let _ = (generic.remote(), default.remote());
}
