//! Decides which alarms the terminal rings for, and when: once for each that lasts some seconds,
//! and at most once a minute for an intermittent one.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::alarms::Alarm;
use crate::domain::{AlarmKind, Ring};

/// Ringing settings. By default the terminal does not ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingSettings {
    /// The ways of ringing.
    pub how: Vec<Ring>,
    /// The kinds of alarms that ring.
    pub kinds: Vec<AlarmKind>,
}

/// Time that an alarm must last before it rings: a shorter one is a starting worker or a lost
/// packet.
const STANDS: SignedDuration = SignedDuration::from_secs(5);

/// Time within which a returning alarm does not ring again.
const REPEAT_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// The recent alarms.
#[derive(Clone, Debug, Default)]
pub(super) struct Notifier {
    known: BTreeMap<(AlarmKind, String), Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    since: Timestamp,
    seen_at: Timestamp,
    rang: bool,
}

impl Notifier {
    /// Takes the current alarms; returns the text to ring for now, as one sentence.
    pub(super) fn note(
        &mut self,
        settings: &RingSettings,
        alarms: &[Alarm],
        now: Timestamp,
    ) -> Option<String> {
        let mut due: Vec<&str> = Vec::new();
        for alarm in alarms {
            if !settings.kinds.contains(&alarm.kind) {
                continue;
            }
            let key = (alarm.kind, alarm.about.clone());
            let known = self.known.entry(key).or_insert(Known {
                since: now,
                seen_at: now,
                rang: false,
            });
            known.seen_at = now;
            if !known.rang && now.duration_since(known.since) >= STANDS {
                known.rang = true;
                due.push(&alarm.text);
            }
        }
        self.known.retain(|_, known| {
            let gone_for = now.duration_since(known.seen_at);
            gone_for.is_zero() || (known.rang && gone_for < REPEAT_AFTER)
        });
        let first = *due.first()?;
        Some(match due.len() {
            1 => first.to_owned(),
            several => format!("{first} (and {} more)", several - 1),
        })
    }

    /// Moves the recorded times after a change of the clock.
    pub(super) fn move_deadlines(&mut self, moved: impl Fn(Timestamp) -> Timestamp) {
        for known in self.known.values_mut() {
            known.since = moved(known.since);
            known.seen_at = moved(known.seen_at);
        }
    }

    /// Whether an alarm has not lasted long enough yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.known.values().any(|known| !known.rang)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::alarms::Severity;

    fn alarm(about: &str) -> Alarm {
        Alarm {
            severity: Severity::Critical,
            kind: AlarmKind::NoConsumer,
            about: about.to_owned(),
            text: format!("no one has looked at {about}"),
            since: None,
            acknowledged: None,
        }
    }

    #[test]
    fn an_alarm_rings_once_when_it_stands_and_again_only_after_a_minute_without_it() {
        let settings = RingSettings {
            how: vec![Ring::Bell],
            kinds: vec![AlarmKind::NoConsumer],
        };
        let mut ringing = Notifier::default();
        let mut rings = |second, abouts: &[&str]| {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
            let alarms: Vec<Alarm> = abouts.iter().map(|about| alarm(about)).collect();
            ringing.note(&settings, &alarms, now)
        };
        assert_eq!(rings(0, &["a"]), None);
        assert_eq!(rings(4, &[]), None, "it is gone");
        assert_eq!(rings(6, &["a", "b"]), None, "it starts anew");
        let expected = Some(String::from("no one has looked at a (and 1 more)"));
        assert_eq!(rings(11, &["a", "b"]), expected);
        assert_eq!(rings(12, &["a", "b"]), None);
        assert_eq!(rings(13, &["b"]), None);
        assert_eq!(rings(72, &["a", "b"]), None, "it comes and goes");
        assert_eq!(rings(80, &["a", "b"]), None);
        assert_eq!(rings(140, &["b"]), None);
        assert_eq!(rings(141, &["a", "b"]), None);
        let again = Some(String::from("no one has looked at a"));
        assert_eq!(rings(146, &["a", "b"]), again);
    }

    #[test]
    fn an_alarm_that_was_not_chosen_does_not_ring() {
        let settings = RingSettings {
            how: vec![Ring::Bell],
            kinds: vec![AlarmKind::Unreachable],
        };
        let mut ringing = Notifier::default();
        for second in [0, 10] {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
            assert_eq!(ringing.note(&settings, &[alarm("a")], now), None);
        }
    }
}
