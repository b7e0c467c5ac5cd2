//! A pass through a decoder's blocks and back.
//!
//! Backward goes from the gradient of the final states by autodiff, through the surrogate
//! `Σ h · dh` whose gradient with respect to `h` is `dh`. With checkpointing (arXiv:1604.06174) only
//! the blocks' inputs are kept on the way forward, and each block is run again on the way back, so
//! that one block's graph is in memory at a time.

use burn::tensor::Tensor;

use super::gradients::Gradients;
use crate::model::{Decoder, ForwardInput, Part};
use crate::ops::GradientScale;

/// What is kept on the way forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nothing: there is no way back.
    Nothing,
    /// The graph of all blocks.
    Graph,
    /// Each block's input.
    BlockInputs,
}

/// A decoder's blocks on the way back.
pub(super) struct Pass {
    decoder: Decoder,
    input: ForwardInput,
    trace: Trace,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a few at a time, and a tensor's handle is that large"
)]
enum Trace {
    Nothing,
    Graph {
        tracked: Decoder,
        embedded: Tensor<3>,
        states: Tensor<3>,
    },
    /// Inputs of the blocks, then of the final norm.
    Inputs(Vec<Tensor<3>>),
}

impl Pass {
    /// Goes forward to the final states, without graph.
    ///
    /// # Shapes
    /// `[B, T, E]`.
    pub(super) fn forward(decoder: &Decoder, input: ForwardInput, keep: Keep) -> (Self, Tensor<3>) {
        let embedded = decoder.embed(&input);
        let (trace, states) = match keep {
            Keep::Nothing => (Trace::Nothing, through(decoder, embedded, &input, |_| ())),
            Keep::BlockInputs => {
                let mut inputs = Vec::with_capacity(decoder.block_count() + 1);
                let states = through(decoder, embedded, &input, |state| {
                    inputs.push(state.clone());
                });
                (Trace::Inputs(inputs), states)
            }
            Keep::Graph => {
                let tracked = decoder.tracked();
                let embedded = embedded.autodiff();
                let embedded = match decoder.trainable_range(Part::Embedding).is_empty() {
                    true => embedded,
                    false => embedded.require_grad(),
                };
                let states = through(&tracked, embedded.clone(), &input, |_| ());
                let plain = states.clone().inner();
                let trace = Trace::Graph {
                    tracked,
                    embedded,
                    states,
                };
                (trace, plain)
            }
        };
        let decoder = decoder.clone();
        let pass = Self {
            decoder,
            input,
            trace,
        };
        (pass, states)
    }

    /// Adds the gradients of all trainable weights but the head's.
    ///
    /// # Shapes
    /// `gradient`, of the final states, `[B, T, E]`.
    ///
    /// # Panics
    /// When nothing was kept on the way forward.
    pub(super) fn backward(self, gradient: Tensor<3>, gradients: &mut Gradients) {
        let Self {
            decoder,
            input,
            trace,
        } = self;
        let for_embedded = match trace {
            Trace::Nothing => panic!("a pass that kept nothing has no way back"),
            Trace::Graph {
                tracked,
                embedded,
                states,
            } => {
                let places = 0..decoder.trainable().len();
                leave(&tracked, places, embedded, states, gradient, gradients)
            }
            Trace::Inputs(mut inputs) => {
                let mut parts = vec![Part::FinalNorm];
                parts.extend((0..decoder.block_count()).rev().map(Part::Block));
                let mut gradient = gradient;
                for part in parts {
                    let entered = inputs.pop().expect("one input a part");
                    let places = decoder.trainable_range(part);
                    let tracked = decoder.tracked_in(places.clone());
                    let entered = entered.autodiff().require_grad();
                    let left = match part {
                        Part::Block(index) => tracked.block(index, entered.clone(), &input, None),
                        _ => tracked.final_norm(entered.clone()),
                    };
                    gradient = leave(&tracked, places, entered, left, gradient, gradients)
                        .expect("the input is a leaf");
                }
                Some(gradient)
            }
        };
        let place = decoder.trainable_range(Part::Embedding).next();
        if let (Some(place), Some(gradient)) = (place, for_embedded) {
            let rows = input.flat_ids();
            let [_, _, width] = gradient.dims();
            let gradient = gradient.reshape([-1, width as i32]);
            gradients.add_rows(place, &decoder.trainable()[place], rows, gradient);
        }
    }
}

/// Runs all blocks and the final norm; `visit` sees what goes into each.
fn through(
    decoder: &Decoder,
    embedded: Tensor<3>,
    input: &ForwardInput,
    mut visit: impl FnMut(&Tensor<3>),
) -> Tensor<3> {
    let mut states = embedded;
    for index in 0..decoder.block_count() {
        visit(&states);
        states = decoder.block(index, states, input, None);
    }
    visit(&states);
    decoder.final_norm(states)
}

/// Goes back from `left` to `entered` and to the weights at `places`, whose gradients are added;
/// returns that of `entered`, if it is a leaf.
fn leave(
    tracked: &Decoder,
    places: std::ops::Range<usize>,
    entered: Tensor<3>,
    left: Tensor<3>,
    gradient: Tensor<3>,
    gradients: &mut Gradients,
) -> Option<Tensor<3>> {
    let scale = GradientScale::of(&gradient, tracked.dtype().into());
    let gradient = Tensor::from_inner(scale.scale(gradient));
    let mut found = (left * gradient).sum().backward();
    for place in places {
        if let Some(gradient) = tracked.trainable()[place].grad_remove(&mut found) {
            gradients.add(place, scale.unscale(gradient));
        }
    }
    let gradient = entered.grad_remove(&mut found)?;
    Some(scale.unscale(gradient))
}
