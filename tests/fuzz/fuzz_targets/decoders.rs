//! Whatever bytes a client sends: no panic, and no error of the broker's own. The first byte
//! chooses the protocol and the action, the rest is the body. See ../Cargo.toml for how to run it.

#![no_main]

#[path = "../../sqs_server/decoding.rs"]
mod decoding;

use decoding::{ACTIONS, Decoders};
use libfuzzer_sys::fuzz_target;

/// Requests that one engine takes before it makes way for a new one: what they leave behind would
/// otherwise grow, and a deleted queue would be missed by all that follow.
const REQUESTS: usize = 1_000;

thread_local! {
    static STATE: std::cell::RefCell<Option<(Decoders, usize)>> =
        const { std::cell::RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    STATE.with_borrow_mut(|state| {
        if state.as_ref().is_none_or(|(_, served)| *served >= REQUESTS) {
            *state = Some((Decoders::start(), 0));
        }
        if let Some((decoders, served)) = state {
            *served += 1;
            let outcome = match ACTIONS.get(usize::from(*choice)) {
                // A long poll would only wait.
                Some(&"ReceiveMessage") if is_patient(body) => return,
                Some(action) => decoders.json(action, body),
                None if is_patient(body) => return,
                None => decoders.form(body),
            };
            if let Err(error) = outcome {
                panic!("the broker blames itself: {error}");
            }
        }
    });
});

fn is_patient(body: &[u8]) -> bool {
    let name = b"WaitTimeSeconds";
    body.windows(name.len()).any(|part| part == name)
}
