//! The queues a worker serves: the base, its bands, the runs queue and the named ones.

use std::sync::Arc;

use crate::config::{Band, Settings};
use crate::domain::QueueRole;

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Name: the last part of the URL.
    pub name: String,
    /// Full URL.
    pub url: String,
    /// Its role in the set.
    pub role: QueueRole,
    /// Number of messages taken from it before a lower queue gets a turn; see the worker's sweep.
    pub weight: u32,
    /// URL of its dead-letter queue, if its redrive policy names one.
    pub dead_letter_url: Option<String>,
    /// Number of receives after which SQS moves a message there; `None` if it never does.
    pub max_receives: Option<u32>,
}

impl Queue {
    /// Creates a queue from its URL.
    #[must_use]
    pub fn new(url: String, role: QueueRole, weight: u32) -> Self {
        Self {
            name: queue_name(&url),
            url,
            role,
            weight,
            dead_letter_url: None,
            max_receives: None,
        }
    }

    /// Whether its name makes it a FIFO queue.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        std::path::Path::new(&self.name)
            .extension()
            .is_some_and(|ending| ending == "fifo")
    }
}

/// The name in a queue's URL: its last part.
pub(super) fn queue_name(url: &str) -> String {
    url.rsplit('/').next().unwrap_or(url).to_owned()
}

/// All queues of a worker, highest band first, the runs queue last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSet {
    /// Queues that carry steps (and runs, if there is no runs queue).
    pub steps: Vec<Arc<Queue>>,
    /// The queue that carries runs, where it exists.
    pub runs: Option<Arc<Queue>>,
    /// Configured queues that did not exist at the last check.
    pub missing: Vec<Arc<Queue>>,
    /// Configured queues to which this worker is not subscribed.
    pub others: Vec<Arc<Queue>>,
}

impl QueueSet {
    /// The configured queues; the broker determines which of them exist.
    #[must_use]
    pub fn configured(settings: &Settings) -> Self {
        let base = &settings.queue_url.value;
        let subscribed = |name: &str| {
            let subscribed = &settings.subscribe.value;
            subscribed.is_empty() || subscribed.iter().any(|n| n == name)
        };
        let base_queue = Queue::new(base.clone(), QueueRole::Base, 3);
        let serves_base = subscribed(&base_queue.name) || subscribed(&settings.default_queue.value);
        let mut bands = band_queues(base, &settings.priority_bands.value);
        if bands.is_empty() {
            bands.push(base_queue);
        }
        let runs = Queue::new(sibling_url(base, "runs"), QueueRole::Runs, 3);
        let (mut steps, mut others) = (Vec::new(), Vec::new());
        let place = if serves_base { &mut steps } else { &mut others };
        place.extend(bands);
        for (name, url) in &settings.queues.value {
            let known = |queues: &[Queue]| queues.iter().any(|queue| queue.url == *url);
            let queue = Queue::new(url.clone(), QueueRole::Named(name.clone()), 3);
            if !subscribed(name) {
                others.push(queue);
            } else if !known(&steps) {
                others.retain(|other| other.url != *url);
                steps.push(queue);
            }
        }
        let runs = if serves_base {
            Some(runs)
        } else {
            others.push(runs);
            None
        };
        others.retain(|other| !steps.iter().any(|queue| queue.url == other.url));
        Self {
            steps: steps.into_iter().map(Arc::new).collect(),
            runs: runs.map(Arc::new),
            missing: Vec::new(),
            others: others.into_iter().map(Arc::new).collect(),
        }
    }

    /// The configured queues for a process that serves none of them: all but the base queue may be
    /// missing.
    #[must_use]
    pub fn looked_at(settings: &Settings) -> Self {
        let set = Self::configured(settings);
        let mut all: Vec<Arc<Queue>> = set.all().chain(&set.others).cloned().collect();
        let base = all.iter().position(|queue| queue.role == QueueRole::Base);
        let first = (!all.is_empty()).then(|| all.remove(base.unwrap_or(0)));
        Self {
            steps: first.into_iter().collect(),
            others: all,
            ..Self::default()
        }
    }

    /// Inserts a queue that was missing at its place: bands by weight, before the named ones.
    pub(super) fn put(&mut self, queue: Arc<Queue>) {
        match queue.role {
            QueueRole::Runs => self.runs = Some(queue),
            QueueRole::Named(_) => self.steps.push(queue),
            _ => {
                let heavier = |other: &&Arc<Queue>| {
                    other.weight >= queue.weight && !matches!(other.role, QueueRole::Named(_))
                };
                let place = self.steps.iter().take_while(heavier).count();
                self.steps.insert(place, queue);
            }
        }
    }

    /// Every queue, once.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.steps.iter().chain(&self.runs)
    }
}

/// The queues of the bands, weighted 8:3:1 from the top; further ones weigh as the third.
fn band_queues(base: &str, bands: &[Band]) -> Vec<Queue> {
    let weights = [8, 3, 1];
    bands
        .iter()
        .enumerate()
        .map(|(rank, band)| {
            let weight = weights.get(rank).copied().unwrap_or(1);
            if band.name == "normal" {
                Queue::new(base.to_owned(), QueueRole::Base, weight)
            } else {
                let role = QueueRole::Band(band.name.clone());
                Queue::new(sibling_url(base, &band.name), role, weight)
            }
        })
        .collect()
}

/// `<base>-<suffix>`, with `.fifo` staying last: works on URLs and on bare names.
#[must_use]
pub fn sibling_url(base: &str, suffix: &str) -> String {
    match base.strip_suffix(".fifo") {
        Some(stem) => format!("{stem}-{suffix}.fifo"),
        None => format!("{base}-{suffix}"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::config::parse;

    fn set(yaml: &str) -> QueueSet {
        let file = parse(std::path::Path::new("c.yaml"), yaml).unwrap();
        QueueSet::configured(&Settings::merge(&[file.layer], false).unwrap())
    }

    fn names(set: &QueueSet) -> Vec<&str> {
        set.all().map(|queue| queue.name.as_str()).collect()
    }

    #[test]
    fn fifo_stays_last_in_the_name_of_a_sibling() {
        assert_eq!(
            sibling_url("http://h/1/tasks", "low"),
            "http://h/1/tasks-low"
        );
        assert_eq!(
            sibling_url("http://h/1/tasks.fifo", "low"),
            "http://h/1/tasks-low.fifo"
        );
    }

    #[test]
    fn the_normal_band_is_the_base_queue_and_bands_come_highest_first() {
        let bands = "[{name: high, min: 8}, {name: normal, min: 3}, {name: low}]";
        let set = set(&format!(
            "{{queue_url: 'http://h/1/t', priority_bands: {bands}}}"
        ));
        assert_eq!(names(&set), ["t-high", "t", "t-low", "t-runs"]);
        let weights: Vec<u32> = set.steps.iter().map(|queue| queue.weight).collect();
        assert_eq!(weights, [8, 3, 1]);
    }

    #[test]
    fn a_worker_subscribed_to_a_named_queue_serves_only_that() {
        let yaml = "{queue_url: 'http://h/1/t', queues: {gpu: 'http://h/1/g'}, subscribe: [gpu]}";
        assert_eq!(names(&set(yaml)), ["g"]);
        let others = set(yaml).others;
        let others: Vec<&str> = others.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(others, ["t", "t-runs"], "it tells of them all the same");
        let yaml = "{queue_url: 'http://h/1/t', queues: {gpu: 'http://h/1/g'}}";
        assert_eq!(names(&set(yaml)), ["t", "g", "t-runs"]);
        let yaml = "{queue_url: 'http://h/1/t', subscribe: [dagster]}";
        assert_eq!(names(&set(yaml)), ["t", "t-runs"]);
    }
}
