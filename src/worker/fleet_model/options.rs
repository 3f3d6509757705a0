//! What is modelled, and what is counted.

use std::time::Duration;

/// What is modelled.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// Number of workers.
    pub workers: u32,
    /// Step slots of each.
    pub slots: u32,
    /// Run slots of each.
    pub run_slots: u32,
    /// Whether there are three queues of steps (bands) instead of one.
    pub has_bands: bool,
    /// Runs that wait in the runs queue at the start.
    pub queued_runs: u32,
    /// Steps of the runs that are launched during a day, evenly at random.
    pub steps_a_day: u64,
    /// Steps of each run.
    pub steps_of_run: u32,
    /// Steps of a run that are sent together.
    pub fan: u32,
    /// Mean duration of a step, in seconds.
    pub step_seconds: f64,
    /// The visibility timeout; a third of it is the interval of renewals.
    pub visibility: Duration,
    /// Size of a body in bytes, for the 64 KiB units in which SQS counts requests.
    pub body_bytes: u64,
    /// Simulated time.
    pub duration: Duration,
    /// Seed of everything that is random in the model.
    pub seed: u64,
}

impl Default for FleetOptions {
    /// A small fleet for an hour.
    fn default() -> Self {
        Self {
            workers: 10,
            slots: 8,
            run_slots: 4,
            has_bands: false,
            queued_runs: 0,
            steps_a_day: 0,
            steps_of_run: 100,
            fan: 25,
            step_seconds: 30.0,
            visibility: Duration::from_mins(1),
            body_bytes: 4096,
            duration: Duration::from_hours(1),
            seed: 1,
        }
    }
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct FleetFigures {
    /// `ReceiveMessage`.
    pub receives: u64,
    /// Those of them that brought nothing.
    pub empty_receives: u64,
    /// `DeleteMessage`.
    pub deletes: u64,
    /// `ChangeMessageVisibilityBatch` with renewals of leases.
    pub renewals: u64,
    /// `ChangeMessageVisibility` of messages that went back for want of a slot.
    pub released: u64,
    /// `SendMessageBatch`, and `SendMessage` of a launcher.
    pub sends: u64,
    /// Requests as SQS counts them: one for each 64 KiB of what is sent or received, at least one.
    pub billed: u64,
    /// Steps that ended.
    pub steps: u64,
    /// Runs that ended.
    pub runs: u64,
    /// Largest number of messages in flight.
    pub most_in_flight: u64,
    /// Largest number of running runs.
    pub most_runs: u64,
    /// Seconds that steps waited from being sent to being started, sorted.
    pub waits: Vec<f32>,
    /// Sum over all workers of the seconds in which each had a task in hand.
    pub occupied_seconds: f64,
    /// Sum over all runs of the seconds for which each ran.
    pub run_seconds: f64,
}

impl FleetFigures {
    /// The wait that this part (0 to 1) of the steps did not exceed, in seconds.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index of a list, from a part of its length"
    )]
    pub fn wait(&self, part: f64) -> f32 {
        let last = self.waits.len().saturating_sub(1);
        let index = (last as f64 * part).round() as usize;
        self.waits.get(index).copied().unwrap_or_default()
    }
}
