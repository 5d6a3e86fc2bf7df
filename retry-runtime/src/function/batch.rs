//! Functions that take a batch of inputs.

use super::args::Val;
use super::invocation::Invocation;
use crate::api::spec::FunctionSpec;
use crate::codec::Wire;

/// A collection of the inputs or of the results of a batch.
#[diagnostic::on_unimplemented(
    message = "a function with `batch` takes a `Vec` of inputs and returns a `Vec` of results",
    label = "this is not a `Vec`"
)]
pub trait Batched {
    /// The type of one input or result, as callers see it.
    type Item;
}

impl<T> Batched for Vec<T> {
    type Item = T;
}

/// Runs a batch: passes all inputs to `body`, and each invocation its own result through `reply`.
pub(crate) fn run_batch<T: Wire, R>(
    batch: &mut [Invocation],
    spec: &FunctionSpec,
    body: impl FnOnce(Vec<T>) -> Vec<R>,
    mut reply: impl FnMut(&mut Invocation, R),
) {
    let mut inputs = Vec::with_capacity(batch.len());
    let mut accepted = Vec::with_capacity(batch.len());
    for invocation in batch {
        if let Some((input,)) = invocation.arguments::<(Val<T>,)>(spec) {
            inputs.push(input);
            accepted.push(invocation);
        }
    }
    if accepted.is_empty() {
        return;
    }
    let results = body(inputs);
    if results.len() == accepted.len() {
        for (invocation, result) in accepted.into_iter().zip(results) {
            reply(invocation, result);
        }
    } else {
        let expected = accepted.len();
        for invocation in accepted {
            invocation.wrong_length(expected, results.len());
        }
    }
}
