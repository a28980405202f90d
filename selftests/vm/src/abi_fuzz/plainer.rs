// SPDX-License-Identifier: GPL-2.0

//! Makes the operations of a failing script plainer, as long as the script still fails.

use proptest::strategy::ValueTree;
use rust_gup_uapi::raw;

use super::{
    call::Call,
    script::{
        Argument,
        CallOperation,
        Fields,
        Len,
        Offset,
        Operation, //
    }, //
};

/// Steps that make a call plainer. They are tried one after the other. No step turns a call into one that must not be
/// made; see `Maker`.
const STEPS: [fn(&mut CallOperation); 9] = [
    |call| call.unknown_byte = None,
    |call| call.compat = false,
    |call| call.garbage = 1,
    |call| call.number = Call::of(call.number).map_or(call.number, Call::number),
    |call| call.argument = Argument::Good(0),
    |call| {
        if let Fields::Range {
            engine_b,
            reserved,
            rounds,
            pages_per_call,
            ..
        } = &mut call.fields
        {
            (*reserved, *rounds, *pages_per_call) = (0, 1, 1);
            *engine_b = raw::RUST_GUP_ENGINE_KERNEL;
        }
    },
    |call| {
        if let Fields::Range { flags, .. } = &mut call.fields {
            *flags = 0;
        }
    },
    |call| match &mut call.fields {
        Fields::Range { len, .. } => *len = Len::Bytes(1),
        Fields::Handle { len, .. } => *len = 1,
        Fields::None => {}
    },
    |call| {
        if let Fields::Handle {
            offset,
            first,
            capacity,
            ..
        } = &mut call.fields
        {
            (*offset, *first, *capacity) = (Offset::Bytes(0), 0, 1);
        }
    },
];

/// An operation that can be made plainer.
#[derive(Clone, Debug)]
pub(super) struct OperationTree {
    operation: Operation,
    /// The operation before the last step.
    before: Option<Operation>,
    /// Index of the next step in [`STEPS`].
    step: usize,
}

impl OperationTree {
    pub(super) fn new(operation: Operation) -> Self {
        Self {
            operation,
            before: None,
            step: 0,
        }
    }
}

impl ValueTree for OperationTree {
    type Value = Operation;

    fn current(&self) -> Operation {
        self.operation.clone()
    }

    fn simplify(&mut self) -> bool {
        while let Some(step) = STEPS.get(self.step) {
            self.step += 1;
            let mut plainer = self.operation.clone();
            let calls = match &mut plainer {
                Operation::Call(call) => std::slice::from_mut(call),
                Operation::Fork(calls, _) => calls,
                Operation::Memory(_) | Operation::File(_) | Operation::OtherCall(_) => {
                    return false
                }
            };
            calls.iter_mut().for_each(step);
            if plainer != self.operation {
                self.before = Some(std::mem::replace(&mut self.operation, plainer));
                return true;
            }
        }
        false
    }

    fn complicate(&mut self) -> bool {
        let before = self.before.take();
        let has_been_plainer = before.is_some();
        if let Some(operation) = before {
            self.operation = operation;
        }
        has_been_plainer
    }
}
