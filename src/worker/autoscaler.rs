//! The number of step slots of a worker whose slots follow the load.
//!
//! Slots grow while all of them are in use, messages wait for long, and the CPU is not full. They
//! shrink when some were not needed for long. A full CPU only keeps them from growing: to take slots
//! away then would lengthen the queue, which would add them again. The decision does no I/O and
//! reads no clock.

use std::time::{Duration, Instant};

use crate::domain::{SlotRange, they_wait};

/// When slots grow and shrink.
#[derive(Clone, Copy, Debug)]
pub struct AutoscalerOptions {
    /// Time for which messages wait before slots are added.
    pub grow_after: Duration,
    /// Time for which slots are free before they are taken away.
    pub shrink_after: Duration,
    /// CPU in use, in percent, from which on no slots are added; 100: the CPU does not matter.
    pub cpu_limit: u32,
}

/// State of a worker since the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// The largest number of steps that ran at once.
    pub peak: u32,
    /// Messages that wait; approximate, and 0 if not counted.
    pub waiting: u64,
    /// Age of the oldest of them, if the broker reports it.
    pub oldest: Option<Duration>,
    /// CPU in use, in percent; `None` if unknown.
    pub cpu: Option<u32>,
}

/// A new number of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resize {
    pub target: u32,
    /// In the form of the rest of a sentence.
    pub reason: String,
}

/// Decides how many slots a worker has.
#[derive(Debug)]
pub(super) struct Autoscaler {
    range: SlotRange,
    options: AutoscalerOptions,
    /// Since when all slots are in use and messages wait.
    pressed_since: Option<Instant>,
    /// The time since which slots are free, and the peak since then.
    quiet: Option<(Instant, u32)>,
    /// Until then slots that were added last are to show their effect.
    settles_at: Instant,
}

impl Autoscaler {
    pub fn new(range: SlotRange, options: AutoscalerOptions, now: Instant) -> Self {
        Self {
            range,
            options,
            pressed_since: None,
            quiet: None,
            settles_at: now + options.grow_after,
        }
    }

    pub fn range(&self) -> SlotRange {
        self.range
    }

    /// Interval of the looks: several before slots grow.
    pub fn interval(&self) -> Duration {
        let shorter = self.options.grow_after.min(self.options.shrink_after);
        (shorter / 4).clamp(Duration::from_millis(100), Duration::from_secs(5))
    }

    /// Whether the decision depends on the messages that wait. Counting them costs a request for
    /// each queue.
    pub fn needs_count(&self, target: u32, load: &Load) -> bool {
        load.peak >= target && target < self.range.max && !self.is_full(load)
    }

    /// Decides after a look at the load of a worker that has `target` slots.
    pub fn decide(&mut self, target: u32, load: &Load, now: Instant) -> Option<Resize> {
        if load.peak < target {
            self.pressed_since = None;
            return self.shrink(target, load.peak, now);
        }
        self.quiet = None;
        if load.waiting == 0 || !self.needs_count(target, load) {
            self.pressed_since = None;
            return None;
        }
        let pressed = now - *self.pressed_since.get_or_insert(now);
        let lasts = pressed.max(load.oldest.unwrap_or_default());
        if now < self.settles_at || lasts < self.options.grow_after {
            return None;
        }
        self.pressed_since = None;
        self.settles_at = now + self.options.grow_after;
        let (waiting, age) = (they_wait(load.waiting, "message"), lasts.as_secs());
        let cpu = load
            .cpu
            .map_or_else(String::new, |cpu| format!(", CPU {cpu} %"));
        Some(Resize {
            target: target + self.growth(target, load),
            reason: format!("all are in use and ~{waiting}, for {age} s{cpu}"),
        })
    }

    /// Forgets what was seen, for a worker that takes nothing for a while.
    pub fn reset(&mut self, now: Instant) {
        *self = Self::new(self.range, self.options, now);
    }

    /// Half as many slots again, but no more than there are messages and than the CPU may bear if
    /// each slot uses as much of it as the present ones.
    fn growth(&self, target: u32, load: &Load) -> u32 {
        let limit = self.options.cpu_limit;
        let bearable = match load.cpu {
            Some(cpu) if cpu > 0 && limit < 100 => {
                u64::from(target) * u64::from(limit.saturating_sub(cpu)) / u64::from(cpu)
            }
            _ => u64::MAX,
        };
        let room = self.range.max.saturating_sub(target);
        let most = bearable.clamp(1, load.waiting.max(1)).min(room.into());
        u32::try_from(most).unwrap_or(room).min((target / 2).max(1))
    }

    /// Takes away half of the slots that were not needed: what is needed next may be more than what
    /// was needed last.
    fn shrink(&mut self, target: u32, peak: u32, now: Instant) -> Option<Resize> {
        let (since, highest) = self.quiet.get_or_insert((now, peak));
        *highest = peak.max(*highest);
        let (since, highest) = (*since, *highest);
        if now - since < self.options.shrink_after {
            return None;
        }
        self.quiet = None;
        let unneeded = target.saturating_sub(highest.max(self.range.min));
        (unneeded > 0).then(|| Resize {
            target: target - unneeded.div_ceil(2),
            reason: format!(
                "at most {highest} were in use for {} s",
                (now - since).as_secs()
            ),
        })
    }

    fn is_full(&self, load: &Load) -> bool {
        let limit = self.options.cpu_limit;
        limit < 100 && load.cpu.is_some_and(|cpu| cpu >= limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPTIONS: AutoscalerOptions = AutoscalerOptions {
        grow_after: Duration::from_secs(10),
        shrink_after: Duration::from_mins(1),
        cpu_limit: 85,
    };

    const RANGE: SlotRange = SlotRange { min: 2, max: 16 };

    /// A worker under test, looked at every 5 s.
    struct Scaled {
        scaler: Autoscaler,
        target: u32,
        now: Instant,
        /// The numbers of slots that it had, each once.
        had: Vec<u32>,
    }

    impl Scaled {
        fn new(range: SlotRange, target: u32) -> Self {
            let now = Instant::now();
            Self {
                scaler: Autoscaler::new(range, OPTIONS, now),
                target,
                now,
                had: vec![target],
            }
        }

        fn look(&mut self, load: &Load) -> Option<Resize> {
            self.now += Duration::from_secs(5);
            let resize = self.scaler.decide(self.target, load, self.now);
            if let Some(resize) = &resize {
                self.target = resize.target;
                self.had.push(resize.target);
            }
            resize
        }

        fn look_times(&mut self, times: u32, load: &Load) {
            for _ in 0..times {
                // A worker cannot run more than it has slots.
                let peak = load.peak.min(self.target);
                self.look(&Load { peak, ..*load });
            }
        }
    }

    fn load(peak: u32, waiting: u64, cpu: u32) -> Load {
        Load {
            peak,
            waiting,
            oldest: None,
            cpu: Some(cpu),
        }
    }

    #[test]
    fn a_backlog_that_lasts_adds_slots_up_to_the_largest_number() {
        let mut worker = Scaled::new(RANGE, 2);
        assert_eq!(worker.look(&load(2, 100, 5)), None);
        assert_eq!(worker.look(&load(2, 100, 5)), None);
        let resize = worker.look(&load(2, 100, 5));
        assert_eq!(
            resize.map(|resize| resize.reason).as_deref(),
            Some("all are in use and ~100 messages wait, for 10 s, CPU 5 %")
        );
        worker.look_times(100, &load(16, 100, 5));
        assert_eq!(worker.had, [2, 3, 4, 6, 9, 13, 16]);
    }

    #[test]
    fn a_backlog_that_comes_and_goes_adds_none_and_an_old_message_adds_them_sooner() {
        let mut worker = Scaled::new(RANGE, 2);
        for _ in 0..50 {
            worker.look_times(2, &load(2, 3, 5));
            worker.look_times(1, &load(2, 0, 5));
        }
        assert_eq!(worker.had, [2]);
        let old = Load {
            oldest: Some(Duration::from_secs(40)),
            ..load(2, 3, 5)
        };
        worker.look(&old);
        assert_eq!(worker.had, [2, 3]);
        // The new slot is given time to take one.
        worker.look(&Load { peak: 3, ..old });
        assert_eq!(worker.had, [2, 3]);
    }

    #[test]
    fn a_full_cpu_keeps_slots_from_growing_and_a_half_full_one_adds_few() {
        let mut worker = Scaled::new(RANGE, 8);
        worker.look_times(50, &load(16, 100, 85));
        assert_eq!(worker.had, [8]);
        // 8 slots use 70 %, so one more may use 9 %.
        worker.look_times(3, &load(16, 100, 70));
        assert_eq!(worker.had, [8, 9]);
        // No more than there are messages.
        let mut worker = Scaled::new(RANGE, 8);
        worker.look_times(3, &load(16, 2, 0));
        assert_eq!(worker.had, [8, 10]);
    }

    #[test]
    fn slots_that_are_free_for_long_go_down_to_what_was_needed() {
        let mut worker = Scaled::new(RANGE, 16);
        worker.look_times(12, &load(3, 0, 5));
        assert_eq!(worker.had, [16]);
        worker.look_times(1, &load(5, 0, 5));
        assert_eq!(worker.had, [16, 10]);
        worker.look_times(500, &load(3, 0, 5));
        assert_eq!(worker.had.last(), Some(&3));
        worker.look_times(500, &load(0, 0, 5));
        assert_eq!(worker.had.last(), Some(&2));
    }

    /// A worker with a constant load: each second, as many steps come as `need` slots can run.
    fn constant(worker: &mut Scaled, need: u32, cpu_of_a_slot: u32, backlog: &mut u64, looks: u32) {
        for _ in 0..looks {
            let mut peak = 0;
            for _ in 0..5 {
                *backlog += u64::from(need);
                let served = u64::from(worker.target).min(*backlog);
                *backlog -= served;
                peak = peak.max(u32::try_from(served).unwrap_or(u32::MAX));
            }
            let cpu = (peak * cpu_of_a_slot).min(100);
            worker.look(&load(peak, *backlog, cpu));
        }
    }

    proptest! {
        #[test]
        fn a_constant_load_has_slots_that_do_not_change_after_a_while(
            need in 0..20_u32,
            target in 2..=16_u32,
            cpu in 0..20_u32,
            backlog in 0..2_000_u64,
        ) {
            let mut worker = Scaled::new(RANGE, target);
            let mut backlog = backlog;
            constant(&mut worker, need, cpu, &mut backlog, 2_000);
            let settled = worker.had.len();
            constant(&mut worker, need, cpu, &mut backlog, 2_000);
            prop_assert_eq!(worker.had.len(), settled, "{:?}", worker.had);
            // Up while the backlog is worked off, then down to what is needed.
            let turns = worker.had.windows(3).filter(|had| {
                (had[0] < had[1]) != (had[1] < had[2])
            });
            prop_assert!(turns.count() <= 2, "{:?}", worker.had);
            if need <= 16 && need * cpu < 85 {
                prop_assert_eq!(worker.target, need.max(RANGE.min));
            }
        }

        #[test]
        fn whatever_the_load_the_bounds_hold_and_no_running_step_loses_its_slot(
            min in 1..10_u32,
            more in 0..30_u32,
            looks in prop::collection::vec(
                (0..50_u32, 0..5_000_u64, prop::option::of(0..200_u64), prop::option::of(0..400_u32)),
                1..300,
            ),
        ) {
            let range = SlotRange { min, max: min + more };
            let mut worker = Scaled::new(range, min);
            for (peak, waiting, oldest, cpu) in looks {
                let peak = peak.min(worker.target);
                let oldest = oldest.map(Duration::from_secs);
                let before = worker.target;
                let resize = worker.look(&Load { peak, waiting, oldest, cpu });
                prop_assert!((range.min..=range.max).contains(&worker.target));
                prop_assert!(worker.target >= peak);
                if let Some(resize) = resize {
                    prop_assert_ne!(resize.target, before);
                    prop_assert!(resize.target < before || waiting > 0 && cpu.is_none_or(|cpu| cpu < 85));
                }
            }
        }
    }
}
