//! A broker, a project with the jobs of `tests/worker/jobs.py`, and Dagster's side of it.

use super::side::{Side, jobs};
use super::{Broker, Project, Worker};

/// The shortest visibility timeout there is, so that what a dead worker held comes back soon.
pub const SETTINGS: &str = "visibility_timeout: 10\nload_grace: 0\n";

/// The stage of a worker test.
pub struct Scene {
    /// The embedded broker.
    pub broker: Broker,
    /// The project.
    pub project: Project,
    /// Dagster's side.
    pub side: Side,
    /// The workers' settings file.
    pub settings: String,
}

impl Scene {
    /// With a base queue, a dead-letter queue `<queue>-dead` and a runs queue.
    pub fn new(queue: &str) -> Self {
        Self::with(queue, SETTINGS)
    }

    /// As [`Scene::new`], with other settings (YAML).
    pub fn with(queue: &str, settings: &str) -> Self {
        Self::on(Broker::start(), queue, settings)
    }

    /// As [`Scene::with`], with a runs queue that has the dead-letter queue too; after so many
    /// receives SQS itself moves messages there.
    pub fn limited(queue: &str, settings: &str, receives: u32) -> Self {
        Self::made(Broker::start(), queue, settings, receives, true)
    }

    /// The same on a broker that was started already.
    pub fn on(broker: Broker, queue: &str, settings: &str) -> Self {
        Self::made(broker, queue, settings, 100, false)
    }

    fn made(broker: Broker, queue: &str, settings: &str, receives: u32, runs_too: bool) -> Self {
        let project = Project::new(&broker, queue, &std::fs::read_to_string(jobs()).unwrap());
        let mut side = Side::start(&project);
        let stem = queue.trim_end_matches(".fifo");
        let fifo = &queue[stem.len()..];
        let dead = format!("{stem}-dead{fifo}");
        side.create_limited(queue, Some(&dead), receives);
        let runs = format!("{stem}-runs{fifo}");
        side.create_limited(&runs, runs_too.then_some(dead.as_str()), receives);
        let settings = project.yaml(settings);
        Self {
            broker,
            project,
            side,
            settings,
        }
    }

    /// Starts a worker with the scene's settings and further arguments.
    pub fn worker(&self, slots: impl std::fmt::Display, more: &[&str]) -> Worker {
        let args = [&["-y", self.settings.as_str()], more].concat();
        Worker::start(&self.project, slots, &args)
    }

    /// Every one of these steps has these events of its life, in this order.
    pub fn assert_lives(&mut self, run: &str, steps: &[String], life: &[&str]) {
        for step in steps {
            assert_eq!(self.side.life(run, step), life, "{step}");
        }
    }
}
