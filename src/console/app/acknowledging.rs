//! Acknowledging alarms, and the page with their history.

use jiff::{SignedDuration, Timestamp};

use super::alarm_list::AlarmPlace;
use super::{App, Effect};
use crate::console::overlay::Overlay;
use crate::console::toast::Tone;
use crate::domain::{Alarm, AlarmEntry, Answer, Command, Query, Reply};
use crate::protocol::frames::own_name;

/// Time for which an alarm is acknowledged if none is given.
const AN_HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The history of alarms, as far as it was read.
#[derive(Clone, Debug, Default)]
pub struct AlarmHistory {
    request: Option<u64>,
    /// The entries, newest first, or the reason for their absence.
    pub(in crate::console) answer: Option<Result<Vec<AlarmEntry>, String>>,
}

impl App {
    /// Acknowledges the alarm under the cursor of the list: for an hour, or the given time; takes an
    /// acknowledgement back.
    pub(super) fn acknowledge(
        &mut self,
        place: Option<&AlarmPlace>,
        argument: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let alarms = self.alarms(now);
        let chosen = place.or(self.alarm_place.as_ref());
        let alarm = chosen.and_then(|place| alarms.get(place.row_in(&alarms)));
        let Some(alarm) = alarm else {
            let text = "No alarm is chosen: a lists them";
            return self.toast(Tone::Failed, text, now);
        };
        let until = match until(alarm, argument, now) {
            Ok(until) => until,
            Err(text) => return self.toast(Tone::Failed, text, now),
        };
        let command = Command::AcknowledgeAlarm {
            alarm: alarm.id(),
            until,
            by: own_name(),
        };
        self.send(None, command, now, effects);
    }

    /// Opens the page with the history, which is read once.
    pub(in crate::console) fn show_alarm_history(&mut self, effects: &mut Vec<Effect>) {
        let limit = AlarmEntry::MAX;
        let request = self.query(Query::AlarmHistory { limit }, effects);
        self.alarm_history = AlarmHistory {
            request: Some(request),
            answer: None,
        };
        self.overlay = Some(Overlay::AlarmHistory { scroll: 0 });
    }

    /// Takes the history; `false` if the answer belongs to something else.
    pub(super) fn alarm_history_reply(&mut self, request: u64, reply: &Reply) -> bool {
        if self.alarm_history.request != Some(request) {
            return false;
        }
        self.alarm_history.request = None;
        self.alarm_history.answer = match reply {
            Reply::Answer(answer) => match &**answer {
                Answer::AlarmHistory(entries) => Some(Ok(entries.clone())),
                _ => return true,
            },
            other => Some(Err(other.text().to_owned())),
        };
        true
    }
}

/// The end of an acknowledgement; `None` takes back the one in effect.
fn until(alarm: &Alarm, argument: &str, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let within = match argument {
        "off" => return Ok(None),
        "" if alarm.is_acknowledged(now) => return Ok(None),
        "" => AN_HOUR,
        text => text
            .parse::<SignedDuration>()
            .map_err(|_| format!("`{text}` is no time: give 30m, 8h, 2d or off"))?,
    };
    let until = now.checked_add(within).ok().filter(|until| *until > now);
    until
        .map(Some)
        .ok_or_else(|| String::from("Give a time that is to come"))
}
