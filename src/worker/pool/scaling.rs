//! Step slots that follow the load: what the pool looks at, and when.
//!
//! The number of slots is in this process alone. If it dies, no message is lost by that: the next
//! one begins with the smallest number.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::Pool;
use crate::domain::{SlotRange, Slots};
use crate::sqs::{Broker, Queue};
use crate::worker::autoscaler::{Autoscaler, AutoscalerOptions, Load, Resize};
use crate::worker::cpu::CpuMeter;

/// Time limit for counting the messages that wait; without an answer none are assumed.
const COUNT_TIMEOUT: Duration = Duration::from_secs(8);

/// What a pool needs to let its step slots follow the load.
pub(super) struct Scaling {
    scaler: Autoscaler,
    cpu: CpuMeter,
    /// The largest number of steps that ran at once since the last look.
    peak: u32,
    look_at: Instant,
    /// A count of the messages that wait; at most one.
    counts: JoinSet<Load>,
}

impl Scaling {
    fn new(range: SlotRange, options: AutoscalerOptions) -> Self {
        let scaler = Autoscaler::new(range, options, std::time::Instant::now());
        let look_at = Instant::now() + scaler.interval();
        Self {
            scaler,
            cpu: CpuMeter::new(),
            peak: 0,
            look_at,
            counts: JoinSet::new(),
        }
    }

    /// As [`Scaling::new`]; `None` if the number is fixed.
    pub fn within(range: SlotRange, options: AutoscalerOptions) -> Option<Self> {
        (!range.is_fixed()).then(|| Self::new(range, options))
    }

    /// Step slots with their bounds, which this alone knows.
    pub fn slots(scaling: Option<&Self>, steps: Slots) -> Slots {
        let range = scaling.map(|scaling| scaling.scaler.range());
        Slots { range, ..steps }
    }

    /// The time of the next look; `None` while messages are counted.
    pub fn looks_at(scaling: Option<&Self>) -> Option<Instant> {
        let scaling = scaling.filter(|scaling| scaling.counts.is_empty())?;
        Some(scaling.look_at)
    }

    /// The load with its messages counted; `None` if no count is under way.
    pub async fn counted(scaling: &mut Option<Self>) -> Option<Load> {
        let scaling = scaling.as_mut()?;
        // A count that panicked is one that failed.
        scaling.counts.join_next().await?.ok()
    }

    /// Notes the number of steps that run now.
    pub fn note(scaling: &mut Option<Self>, busy: u32) {
        if let Some(scaling) = scaling {
            scaling.peak = scaling.peak.max(busy);
        }
    }
}

impl Pool {
    /// The step slots, as others see them.
    pub(super) fn step_slots(&self) -> Slots {
        Scaling::slots(self.scaling.as_ref(), self.scheduler.steps)
    }

    /// Lets the step slots follow the load within bounds, or sets a fixed number of them.
    pub(super) fn scale(&mut self, range: SlotRange) {
        self.scaling = Scaling::within(range, self.options.autoscaler);
        self.scheduler.steps.target = range.clamp(self.scheduler.steps.target);
        self.send_slots();
    }

    /// Looks at the load. Messages are counted only where slots might be added.
    pub(super) fn look_at_load(&mut self) {
        let receives = self.state.receives() && self.rests_until().is_none();
        let (target, busy) = (self.scheduler.steps.target, self.scheduler.steps.busy);
        let Some(scaling) = &mut self.scaling else {
            return;
        };
        scaling.look_at = Instant::now() + scaling.scaler.interval();
        let load = Load {
            peak: std::mem::replace(&mut scaling.peak, busy),
            waiting: 0,
            oldest: None,
            cpu: scaling.cpu.percent(),
        };
        if !receives {
            scaling.scaler.reset(std::time::Instant::now());
        } else if scaling.scaler.needs_count(target, &load) {
            let (broker, queues) = (self.context.broker.clone(), self.queues.borrow().clone());
            scaling.counts.spawn(counted(broker, queues.steps, load));
        } else {
            self.follow(&load);
        }
    }

    /// Changes the number of slots if the load asks for it.
    pub(super) fn follow(&mut self, load: &Load) {
        let Some(scaling) = &mut self.scaling else {
            return;
        };
        let before = self.scheduler.steps.target;
        let now = std::time::Instant::now();
        if let Some(Resize { target, reason }) = scaling.scaler.decide(before, load, now) {
            let range = scaling.scaler.range();
            info!("step slots go from {before} to {target} ({range}): {reason}");
            self.scheduler.steps.target = target;
            self.send_slots();
        }
    }
}

/// Counts the messages that wait for a step slot.
async fn counted(broker: Broker, queues: Vec<Arc<Queue>>, load: Load) -> Load {
    let (mut waiting, mut oldest) = (0, None);
    let count = async {
        for queue in queues {
            // A queue that cannot be counted adds no slots; its error is reported with the others'.
            waiting += broker
                .counts(&queue)
                .await
                .map_or(0, |counts| counts.visible);
            let exact = broker.waiting(&queue).await;
            let sent = exact.and_then(|exact| exact.oldest);
            oldest = oldest.into_iter().chain(sent).min();
        }
    };
    let _ = timeout(COUNT_TIMEOUT, count).await;
    let now = Timestamp::now();
    let age = |sent| Duration::try_from(now.duration_since(sent)).unwrap_or_default();
    Load {
        waiting,
        oldest: oldest.map(age),
        ..load
    }
}
