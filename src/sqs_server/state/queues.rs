//! Creating, changing and deleting queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Broker;
use super::change::Change;
use super::message::{Millis, Stage};
use super::queue::{Queue, QueueRecord};
use super::settings::{Settings, name_in_arn};
use crate::sqs_server::account;
use crate::sqs_server::error::{ErrorKind, SqsError};

/// Minimum time between two purges.
const PURGE_PAUSE: Millis = 60_000;
/// Time for which a deleted queue's name cannot be used again.
const DELETE_PAUSE: Millis = 60_000;
/// Maximum number of tags of a queue.
const MAX_TAGS: usize = 50;

impl Broker {
    /// Creates a queue; an existing one with the same attributes is left as it is.
    ///
    /// # Errors
    /// SQS refuses the name or an attribute; an existing queue differs in a given attribute; a
    /// queue of this name was deleted within the last 60 seconds.
    pub fn create_queue(
        &mut self,
        now: Millis,
        name: &str,
        attributes: BTreeMap<String, String>,
        tags: BTreeMap<String, String>,
    ) -> Result<(), SqsError> {
        let fifo = attributes
            .get("FifoQueue")
            .is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case("true"));
        check_name(account::split(name).1, fifo)?;
        let settings = Settings::new(attributes, fifo)?;
        if let Some(existing) = self.queues.get(name) {
            return match settings.first_difference(&existing.settings) {
                None => Ok(()),
                Some(attribute) => Err(SqsError::new(
                    ErrorKind::QueueNameExists,
                    format!(
                        "A queue already exists with the same name and a different value for \
                         attribute {attribute}"
                    ),
                )),
            };
        }
        if self
            .deleted
            .get(name)
            .is_some_and(|at| now < at + DELETE_PAUSE)
        {
            return Err(SqsError::new(
                ErrorKind::QueueDeletedRecently,
                "You must wait 60 seconds after deleting a queue before you can create another \
                 with the same name.",
            ));
        }
        self.check_redrive(name, &settings)?;
        check_tags(name, &tags)?;
        self.last_store += 1;
        let record = QueueRecord {
            name: Arc::from(name),
            store: self.last_store,
            attributes: settings.raw().clone(),
            tags,
            created_at: now,
            modified_at: now,
            purged_at: None,
            deduplicates_per_group: fifo.then_some(settings.deduplicate_per_group),
        };
        let queue = Queue::new(&record, settings);
        self.queues.insert(record.name.clone(), queue);
        self.changes.push(Change::QueueSaved(Arc::new(record)));
        Ok(())
    }

    /// Removes a queue and its messages.
    ///
    /// # Errors
    /// The queue does not exist.
    pub fn delete_queue(&mut self, now: Millis, name: &str) -> Result<(), SqsError> {
        let mut queue = self
            .queues
            .remove(name)
            .ok_or_else(SqsError::no_such_queue)?;
        self.deleted.retain(|_, at| now < *at + DELETE_PAUSE);
        self.deleted.insert(queue.name.clone(), now);
        self.changes.push(Change::QueueRemoved {
            name: queue.name.clone(),
        });
        self.changes.push(Change::Discarded(queue.clear()));
        Ok(())
    }

    /// Removes every message of a queue, including those in flight and delayed, and forgets their
    /// deduplication ids.
    ///
    /// # Errors
    /// The queue does not exist, or was purged within the last 60 seconds.
    pub fn purge(&mut self, now: Millis, name: &str) -> Result<(), SqsError> {
        let store = self.last_store + 1;
        let queue = self.queue_mut(name)?;
        if queue.purged_at.is_some_and(|at| now < at + PURGE_PAUSE) {
            return Err(SqsError::new(
                ErrorKind::PurgeQueueInProgress,
                format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds."),
            ));
        }
        queue.purged_at = Some(now);
        queue.store = store;
        let gone = queue.clear();
        let record = queue.record();
        self.last_store = store;
        self.changes.push(record);
        self.changes.push(Change::Discarded(gone));
        self.changes.push(Change::DedupExpired {
            queue: Arc::from(name),
            until: Millis::MAX,
        });
        Ok(())
    }

    /// Removes the messages of every queue (of one account if given) and cancels its move tasks;
    /// with `queues` it removes the queues as well. No cooldown applies afterwards. Returns the
    /// numbers of removed queues and messages.
    pub fn reset(&mut self, account: Option<&str>, queues: bool) -> (usize, usize) {
        let is_meant = |key: &str| account.is_none_or(|account| account::split(key).0 == account);
        let names: Vec<Arc<str>> = self
            .queues
            .keys()
            .filter(|key| is_meant(key))
            .cloned()
            .collect();
        self.deleted.retain(|name, _| !is_meant(name));
        self.cancel_tasks(is_meant);
        let mut messages = 0;
        for name in &names {
            self.last_store += 1;
            let store = self.last_store;
            let Some(queue) = self.queues.get_mut(name) else {
                continue;
            };
            queue.purged_at = None;
            queue.store = store;
            let gone = queue.clear();
            messages += gone.len();
            let record = queue.record();
            if queues {
                self.queues.remove(name);
                self.changes
                    .push(Change::QueueRemoved { name: name.clone() });
            } else {
                self.changes.push(record);
                self.changes.push(Change::DedupExpired {
                    queue: name.clone(),
                    until: Millis::MAX,
                });
            }
            self.changes.push(Change::Discarded(gone));
        }
        (if queues { names.len() } else { 0 }, messages)
    }

    /// Replaces some attributes.
    ///
    /// # Errors
    /// The queue does not exist, or SQS refuses an attribute.
    pub fn set_attributes(
        &mut self,
        now: Millis,
        name: &str,
        attributes: BTreeMap<String, String>,
    ) -> Result<(), SqsError> {
        let settings = self.queue(name)?.settings.with(attributes)?;
        self.check_redrive(name, &settings)?;
        let queue = self.queue_mut(name)?;
        let delay = (settings.fifo && settings.delay != queue.settings.delay)
            .then_some(settings.delay * 1_000);
        queue.settings = settings;
        queue.modified_at = now;
        let record = queue.record();
        self.changes.push(record);
        if let Some(delay) = delay {
            self.delay_anew(name, delay);
        }
        Ok(())
    }

    /// Adds or replaces tags.
    ///
    /// # Errors
    /// The queue does not exist, or would have more than 50 tags.
    pub fn tag(&mut self, name: &str, tags: BTreeMap<String, String>) -> Result<(), SqsError> {
        let queue = self.queue_mut(name)?;
        let mut all = queue.tags.clone();
        all.extend(tags);
        check_tags(name, &all)?;
        queue.tags = all;
        let record = queue.record();
        self.changes.push(record);
        Ok(())
    }

    /// Removes tags.
    ///
    /// # Errors
    /// The queue does not exist.
    pub fn untag(&mut self, name: &str, keys: &[String]) -> Result<(), SqsError> {
        let queue = self.queue_mut(name)?;
        queue.tags.retain(|key, _| !keys.contains(key));
        let record = queue.record();
        self.changes.push(record);
        Ok(())
    }

    /// The queues whose dead-letter queue is this one.
    #[must_use]
    pub fn sources_of(&self, name: &str) -> Vec<&Queue> {
        self.queues
            .values()
            .filter(|queue| {
                let target = queue.settings.redrive.as_ref();
                target.is_some_and(|redrive| {
                    account::sibling(&queue.name, name_in_arn(&redrive.target_arn)) == name
                })
            })
            .collect()
    }

    /// Applies a changed delay to existing messages, as FIFO queues do.
    fn delay_anew(&mut self, name: &str, delay: Millis) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        let delayed: Vec<_> = queue
            .iter()
            .filter(|(_, message)| message.stage == Stage::Delayed)
            .map(|(seq, _)| seq)
            .collect();
        for seq in delayed {
            let changed = queue.update(seq, |message| message.due_at = message.sent_at + delay);
            if let Some(message) = changed.cloned() {
                self.changes.push(Change::Updated { seq, message });
            }
        }
    }

    fn check_redrive(&self, name: &str, settings: &Settings) -> Result<(), SqsError> {
        let Some(redrive) = &settings.redrive else {
            return Ok(());
        };
        let value = settings
            .raw()
            .get("RedrivePolicy")
            .map_or("", String::as_str);
        let refuse = |reason: &str| SqsError::invalid("RedrivePolicy", value, reason);
        let (home, own) = account::split(name);
        if home != account::DEFAULT && account::in_arn(&redrive.target_arn) != home {
            return Err(refuse(
                "Dead letter target owner should be same as the source.",
            ));
        }
        let target = self
            .queues
            .get(account::key(home, name_in_arn(&redrive.target_arn)).as_str())
            .filter(|_| redrive.target_arn.starts_with("arn:"))
            .ok_or_else(|| refuse("Dead letter target does not exist."))?;
        if target.settings.fifo != settings.fifo {
            return Err(refuse(
                "Dead-letter queue must be same type of queue as the source.",
            ));
        }
        let allowed = target.settings.redrive_allow.as_ref().is_none_or(|allow| {
            match allow.redrive_permission.as_str() {
                "denyAll" => false,
                "byQueue" => allow
                    .source_queue_arns
                    .iter()
                    .any(|arn| name_in_arn(arn) == own),
                _ => true,
            }
        });
        if allowed {
            Ok(())
        } else {
            Err(refuse(
                "The dead-letter queue's redrive permission does not allow this source queue.",
            ))
        }
    }
}

fn check_name(name: &str, fifo: bool) -> Result<(), SqsError> {
    let stem = if fifo {
        name.strip_suffix(".fifo")
    } else {
        Some(name)
    };
    let is_good = stem.is_some_and(|stem| {
        !stem.is_empty()
            && stem
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    });
    if is_good && name.len() <= 80 {
        return Ok(());
    }
    let reason = if fifo {
        "The name of a FIFO queue can only include alphanumeric characters, hyphens, or \
         underscores, must end with .fifo suffix and be 1 to 80 in length."
    } else {
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
    };
    Err(SqsError::new(ErrorKind::InvalidParameterValue, reason))
}

/// Checks tags: at most 50, with keys of 1 to 128 and values of at most 256 characters.
fn check_tags(name: &str, tags: &BTreeMap<String, String>) -> Result<(), SqsError> {
    let refuse = |text: String| Err(SqsError::new(ErrorKind::InvalidParameterValue, text));
    if tags.len() > MAX_TAGS {
        return refuse(format!(
            "Too many tags added for queue {name}. Maximum number of tags allowed is {MAX_TAGS}."
        ));
    }
    let length = |text: &str| text.chars().count();
    for (key, value) in tags {
        if key.is_empty() || length(key) > 128 {
            return refuse("Tag keys must be between 1 and 128 characters in length.".to_owned());
        }
        if length(value) > 256 {
            return refuse("Tag values must be between 0 and 256 characters in length.".to_owned());
        }
    }
    Ok(())
}
