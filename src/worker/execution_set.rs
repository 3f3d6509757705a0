//! The executions of a worker's tasks, each a future of its own. One that panics loses the
//! supervision of its own task, never a slot.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tokio::task::{Id, JoinSet};

use super::ready_queue::Task;

/// An execution that has ended.
pub(super) struct EndedExecution {
    pub task: Arc<Task>,
    /// Message of the panic, if the life ended with one: its SQS message is not settled.
    pub panic: Option<String>,
}

/// Running executions.
#[derive(Default)]
pub(super) struct ExecutionSet {
    running: JoinSet<()>,
    tasks: HashMap<Id, Arc<Task>>,
}

impl ExecutionSet {
    pub fn spawn(&mut self, task: Arc<Task>, life: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(life).id();
        self.tasks.insert(id, task);
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Waits for the next one to end; `None` if none is running.
    pub async fn next(&mut self) -> Option<EndedExecution> {
        loop {
            let (id, panic) = match self.running.join_next_with_id().await? {
                Ok((id, ())) => (id, None),
                Err(error) => (error.id(), Some(error.to_string())),
            };
            if let Some(task) = self.tasks.remove(&id) {
                return Some(EndedExecution { task, panic });
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::super::ready_queue::tests::task;
    use super::*;

    #[tokio::test]
    async fn a_life_that_panics_ends_like_any_other_and_names_its_task() {
        let mut lives = ExecutionSet::default();
        lives.spawn(Arc::new(task("good", 5, 1)), async {});
        assert!(lives.next().await.unwrap().panic.is_none());
        lives.spawn(Arc::new(task("bad", 5, 1)), async { panic!("as intended") });
        let ended = lives.next().await.unwrap();
        assert_eq!(ended.task.message.task_id, "bad");
        assert!(ended.panic.unwrap().contains("as intended"));
        assert!(lives.is_empty() && lives.next().await.is_none());
    }
}
