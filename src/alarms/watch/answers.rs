//! Requests of operators about alarms.

use std::collections::BTreeMap;

use super::board::noted;
use super::{Done, Watcher};
use crate::alarms::history;
use crate::domain::{
    Acknowledgement, AlarmChange, AlarmEntry, Answer, Command, Query, Reply, Timestamp,
};
use crate::fork_server::{ForkServerError, ForkServers};
use crate::protocol::Request;

impl Watcher {
    pub(super) fn answer(&mut self, Request { command, reply, .. }: Request) {
        match command {
            Command::AcknowledgeAlarm { alarm, until, by } => {
                let hosts = self.options.hosts.clone();
                let path = self.options.history.clone();
                self.work.spawn(async move {
                    let (answer, known) = match acknowledge(&hosts, &alarm, until, &by).await {
                        Ok(known) => (Reply::Done(reported(&alarm, until)), Some(known)),
                        Err(problem) => (Reply::Failed(problem.to_string()), None),
                    };
                    let is_done = known.is_some();
                    // The caller may be gone.
                    let _ = reply.send(answer);
                    if is_done {
                        let entry = acknowledgement(alarm, until, by);
                        let write = move || history::append(&path, &[entry]);
                        let _ = tokio::task::spawn_blocking(write).await;
                    }
                    known.map_or(Done::Answered, Done::Acknowledged)
                });
            }
            Command::Query(Query::AlarmHistory { limit }) => {
                let path = self.options.history.clone();
                self.work.spawn(async move {
                    let read = move || history::read(&path, limit.min(AlarmEntry::MAX));
                    let read = tokio::task::spawn_blocking(read).await;
                    let read = read.map_err(|error| error.to_string());
                    let _ = reply.send(
                        match read.and_then(|read| read.map_err(|error| error.to_string())) {
                            Ok(entries) => Reply::Answer(Box::new(Answer::AlarmHistory(entries))),
                            Err(problem) => {
                                Reply::Failed(format!("cannot read the history: {problem}"))
                            }
                        },
                    );
                    Done::Answered
                });
            }
            other => {
                let text = format!("{} is not about alarms", other.verb());
                let _ = reply.send(Reply::Failed(text));
            }
        }
    }
}

async fn acknowledge(
    hosts: &ForkServers,
    alarm: &str,
    until: Option<Timestamp>,
    by: &str,
) -> Result<BTreeMap<String, Acknowledgement>, ForkServerError> {
    let until = until.map(|until| until.as_duration().as_secs_f64());
    let known = hosts.alarm_acknowledge(alarm, until, by).await?;
    Ok(noted(serde_json::from_value(known).unwrap_or_default()))
}

fn reported(alarm: &str, until: Option<Timestamp>) -> String {
    match until {
        Some(until) => format!("{alarm} is acknowledged until {}", to_the_second(until)),
        None => format!("{alarm} is not acknowledged any more"),
    }
}

fn acknowledgement(id: String, until: Option<Timestamp>, by: String) -> AlarmEntry {
    AlarmEntry {
        at: Timestamp::now(),
        change: match until {
            Some(_) => AlarmChange::Acknowledged,
            None => AlarmChange::Unacknowledged,
        },
        id,
        severity: None,
        text: until.map_or_else(String::new, |until| {
            format!("until {}", to_the_second(until))
        }),
        by: Some(by),
    }
}

fn to_the_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
