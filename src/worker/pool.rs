//! The actor that makes every decision of a worker.

mod commands;
mod paused;
mod scaling;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, info, warn};

use self::paused::QUEUE_PAUSED;
use self::scaling::Scaling;
use super::autoscaler::AutoscalerOptions;
use super::execution::ExecutionContext;
use super::execution_set::{EndedExecution, ExecutionSet};
use super::heartbeat::{self, InFlight, PoolStatus};
use super::ingest::{Ingest, Ingested};
use super::lost_runs;
use super::ready_queue::Task;
use super::receiver::{ReceivedBatch, Receiver};
use super::scheduler::{Excess, Scheduler};
use super::service::Service;
use super::settlement::back_off;
use crate::domain::{Event, EventSink, PausedQueues, SlotRange, WorkerState};
use crate::fork_server::ForkServers;
use crate::protocol::Request;
use crate::sqs::{Broker, LONG_POLL, Leases, QueueSet};
use crate::telemetry::metrics::metrics;
use crate::telemetry::vitals::vitals;

/// Options of a pool.
#[derive(Debug)]
pub struct PoolOptions {
    /// This worker's id.
    pub worker: String,
    /// Bounds of the step slots; at the start there are as few as they allow.
    pub steps: SlotRange,
    /// When they grow and shrink.
    pub autoscaler: AutoscalerOptions,
    /// Run slots.
    pub runs: u32,
    /// Messages held beyond the free slots.
    pub prefetch: u32,
    /// Time limit for interrupted children during a stop.
    pub grace: Duration,
    /// Folder for the archives of drained queues.
    pub archives: std::path::PathBuf,
    /// Time for which higher bands may keep a queue from being polled.
    pub starvation_guard: Duration,
    /// Time after which a running step is compared with its history; zero: never.
    pub slow_after: Duration,
}

/// A worker's pool, driven by [`Pool::run`].
pub struct Pool {
    options: PoolOptions,
    context: ExecutionContext,
    queues: watch::Sender<QueueSet>,
    state: WorkerState,
    scheduler: Scheduler,
    /// Lets the step slots follow the load.
    scaling: Option<Scaling>,
    running: HashMap<String, InFlight>,
    /// The messages of running tasks.
    in_hand: HashMap<String, Arc<Task>>,
    receiver: Receiver,
    ingest: Ingest,
    executions: ExecutionSet,
    /// Whether the process is to be started again once the pool has ended.
    restarts: bool,
    /// Time at which a drain becomes a stop.
    stop_at: Option<tokio::time::Instant>,
    /// When a draining worker next hands over its run workers.
    hand_over_at: Option<tokio::time::Instant>,
    /// Small jobs that only the shutdown waits for: giving back, dead-lettering, drains.
    chores: JoinSet<()>,
    /// A check whether missing queues exist by now; at most one.
    lookups: JoinSet<QueueSet>,
    status: watch::Sender<PoolStatus>,
    /// Queues that operators have paused; `None` until Dagster's storage has been read.
    paused: watch::Receiver<Option<PausedQueues>>,
}

/// Interval of the checks for missing queues, one request each.
const LOOK_FOR_MISSING: Duration = Duration::from_secs(30);

/// Interval at which a draining worker checks for run workers that can be handed over.
const HAND_OVER_EVERY: Duration = Duration::from_secs(1);

/// Time limit for writing a worker's last heartbeat at shutdown.
const FINAL_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

impl Pool {
    /// Creates a pool over a connected broker, its resolved queues and started hosts.
    #[must_use]
    pub fn new(
        options: PoolOptions,
        broker: Broker,
        queues: QueueSet,
        hosts: ForkServers,
        events: EventSink,
    ) -> Self {
        let leases = Leases::start(broker.clone());
        for queue in queues.all() {
            metrics().queue_served(&queue.name);
        }
        let receiver = Receiver::new(broker.clone(), &queues, options.starvation_guard);
        let scaling = Scaling::within(options.steps, options.autoscaler);
        let scheduler = Scheduler::new(options.steps.min, options.runs, options.prefetch);
        let paused = hosts.paused_queues();
        let (status, _) = watch::channel(PoolStatus {
            state: WorkerState::Starting,
            steps: Scaling::slots(scaling.as_ref(), scheduler.steps),
            runs: scheduler.runs,
            in_flight: Vec::new(),
        });
        Self {
            context: ExecutionContext {
                broker,
                leases,
                hosts,
                events,
                breaker: Arc::default(),
                slow_after: options.slow_after,
            },
            ingest: Ingest::new(options.worker.clone()),
            options,
            queues: watch::Sender::new(queues),
            state: WorkerState::Starting,
            scheduler,
            scaling,
            running: HashMap::new(),
            in_hand: HashMap::new(),
            receiver,
            executions: ExecutionSet::default(),
            restarts: false,
            stop_at: None,
            hand_over_at: None,
            chores: JoinSet::new(),
            lookups: JoinSet::new(),
            status,
            paused,
        }
    }

    /// Receives and runs until a drain or a stop has ended; returns whether the process is to be
    /// started again. Every message is settled by then: a process that dies instead loses nothing.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Request>) -> bool {
        let queues = self.queues.subscribe();
        let net = lost_runs::start(&self.context, queues.clone(), self.status.subscribe());
        let reports = heartbeat::start(&self.context, queues, self.status.subscribe());
        let mut service = Service::new();
        let mut missing = tokio::time::interval(LOOK_FOR_MISSING);
        missing.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        missing.reset();
        self.send_slots();
        self.become_state(WorkerState::Running, None);
        loop {
            self.schedule();
            if self.is_over() {
                break;
            }
            let rests_until = self.rests_until();
            vitals().turned(self.state, rests_until.is_some(), self.receiver.open() > 0);
            let retry = rests_until.or_else(|| self.receiver.next_retry());
            let look_at = Scaling::looks_at(self.scaling.as_ref());
            tokio::select! {
                polled = self.receiver.next() => self.polled(polled),
                Some(ended) = self.executions.next() => self.ended(&ended),
                Some(taken) = self.ingest.next() => {
                    if let Ingested::Task(task) = taken {
                        self.receive(*task);
                    }
                }
                Some(_) = self.chores.join_next() => {}
                Some(order) = orders.recv() => self.handle(order).await,
                () = retry_at(retry) => {}
                () = self.context.breaker.recovered() => {}
                Ok(()) = self.paused.changed() => self.pause_queues(),
                () = retry_at(self.hand_over_at) => self.hand_over_runs(),
                () = retry_at(self.stop_at) => {
                    info!("the time to drain is over: interrupting what runs");
                    let _ = self.stop();
                }
                () = retry_at(look_at) => self.look_at_load(),
                Some(load) = Scaling::counted(&mut self.scaling) => self.follow(&load),
                _ = missing.tick() => self.look_for_missing(),
                () = service.watched() => {}
                Some(queues) = self.lookups.join_next() => self.found(queues),
            }
        }
        let ending = async {
            while self.chores.join_next().await.is_some() {}
            drop((reports, net));
            self.send_final_heartbeat().await;
            let hosts = self.context.hosts.clone();
            hosts.shutdown(self.options.grace).await;
        };
        tokio::select! {
            () = ending => {}
            () = service.keep_watched() => {}
        }
        self.become_state(WorkerState::Stopped, None);
        vitals().turned(self.state, false, false);
        self.restarts
    }

    /// Reports this worker's end to the deployment, so that it is not counted on for another half
    /// minute. A storage that does not answer is not waited for.
    async fn send_final_heartbeat(&self) {
        let status = PoolStatus {
            state: WorkerState::Stopped,
            steps: self.step_slots(),
            runs: self.scheduler.runs,
            in_flight: Vec::new(),
        };
        let queues = self.queues.borrow().clone();
        let last = heartbeat::heartbeat(&self.context, &queues, status);
        let _ = tokio::time::timeout(FINAL_HEARTBEAT_TIMEOUT, last).await;
    }

    /// Whether an ending pool has nothing left to do.
    fn is_over(&self) -> bool {
        matches!(self.state, WorkerState::Draining | WorkerState::Stopping)
            && self.executions.is_empty()
            && self.ingest.is_empty()
            && self.receiver.open() == 0
    }

    /// Stops the run workers of a draining worker whose own steps are done: its runs wait for steps
    /// that it no longer takes, perhaps for ever, and another worker continues them. A run worker
    /// that is not ready for that, or whose executor would lose its steps, is retried later.
    fn hand_over_runs(&mut self) {
        let runs = self
            .in_hand
            .values()
            .filter(|task| task.message.kind.is_run());
        for task in runs {
            let (hosts, id) = (self.context.hosts.clone(), task.message.task_id.clone());
            self.chores.spawn(async move { hosts.hand_over(&id).await });
        }
        self.hand_over_at = Some(tokio::time::Instant::now() + HAND_OVER_EVERY);
    }

    /// Starts all tasks that can start, then requests messages for free slots and the prefetch.
    fn schedule(&mut self) {
        self.ingest.settle_noops(&self.context);
        if self.rests_until().is_some() {
            self.rest();
        } else if self.state.receives() {
            let now = Timestamp::now();
            while let Some(task) = self.scheduler.next(now) {
                self.start(task);
            }
            Scaling::note(&mut self.scaling, self.scheduler.steps.busy);
            for Excess {
                task,
                pause,
                reason,
            } in self.scheduler.take_excess()
            {
                self.release(task, pause, reason);
            }
            let (steps, runs) = self.scheduler.room(self.ingest.len());
            // Before they are known, a message of a paused queue might be taken.
            if !self.ingest.is_full() && self.paused.borrow().is_some() {
                self.receiver.demand(steps, runs);
            }
        }
        let hands_over = self.state == WorkerState::Draining && self.scheduler.steps.busy == 0;
        if hands_over && self.hand_over_at.is_none() {
            self.hand_over_at = Some(tokio::time::Instant::now());
        }
        let status = PoolStatus {
            state: self.state,
            steps: self.step_slots(),
            runs: self.scheduler.runs,
            in_flight: self.running.values().cloned().collect(),
        };
        self.status.send_if_modified(|old| {
            let changed = *old != status;
            *old = status;
            changed
        });
    }

    /// End of the pause in which nothing is taken, because nothing could be started.
    fn rests_until(&self) -> Option<tokio::time::Instant> {
        let now = tokio::time::Instant::now();
        self.context.breaker.rests_until(now)
    }

    /// Gives the held tasks back to workers that can start them.
    fn rest(&mut self) {
        for task in self.scheduler.take_all() {
            let pause = back_off(task.delivery.receive_count);
            self.release(task, pause, "tasks cannot be started here for now");
        }
        self.receiver.abandon();
    }

    fn start(&mut self, task: Task) {
        self.receiver.started(&task.delivery.queue);
        self.running
            .insert(task.message.task_id.clone(), InFlight::new(&task));
        let task = Arc::new(task);
        self.in_hand
            .insert(task.message.task_id.clone(), Arc::clone(&task));
        let life = self.context.clone().live(Arc::clone(&task));
        let life = life.instrument(task.span());
        self.executions.spawn(task, life);
    }

    fn ended(&mut self, ended: &EndedExecution) {
        let EndedExecution { task, panic } = ended;
        self.running.remove(&task.message.task_id);
        self.in_hand.remove(&task.message.task_id);
        self.scheduler.ended(task);
        if let Some(panic) = panic {
            let (context, task, panic) = (self.context.clone(), Arc::clone(task), panic.clone());
            let span = task.span();
            let found_out = async move { context.abandoned(&task, &panic).await };
            self.chores.spawn(found_out.instrument(span));
        } else if self.context.leases.holds(&task.delivery) {
            // It was received again while it was being settled: it returns, and is recognised then.
            let (context, task) = (self.context.clone(), Arc::clone(task));
            self.chores
                .spawn(async move { context.leases.release(&task.delivery).await });
        }
    }

    fn polled(&mut self, polled: ReceivedBatch) {
        match polled.result {
            Ok(deliveries) => {
                for delivery in deliveries {
                    let taken = self.ingest.take(&self.context, delivery, polled.starved);
                    if let Some(task) = taken {
                        self.receive(task);
                    }
                }
            }
            Err(problem) => warn!("{problem}; trying again"),
        }
    }

    fn receive(&mut self, task: Task) {
        let span = task.span();
        let _entered = span.enter();
        metrics().task_received(&task.labels(), task.delivery.receive_count > 1);
        if let Some(known) = self.in_hand(&task.message.task_id) {
            let is_fresh = !task.delivery.is_nearly_used_up();
            if is_fresh && self.context.leases.adopt(&known.delivery, &task.delivery) {
                info!(
                    "{} came again: its lease goes on with the new receipt",
                    task.name()
                );
            } else {
                // A copy of a held message waits until its visibility ends, and the next receive is
                // recognised. At the last receive but one it is sent anew, and that copy is soon
                // adopted.
                if (known.delivery.receipt).is_of_message_of(&task.delivery.receipt) {
                    self.context.leases.lapse(&known.delivery);
                }
                let (context, pause) = (self.context.clone(), self.context.broker.visibility());
                let put_back = async move { context.put_back(&task.delivery, pause).await };
                self.chores.spawn(put_back.in_current_span());
            }
            return;
        }
        let view = Box::new(self.ingest.view(&task));
        self.context.events.send(Event::Received { task: view });
        if !self.state.receives() {
            self.release(task, Duration::ZERO, "the worker takes no more");
        } else if self.is_paused(&task.delivery.queue.name) {
            self.release(task, LONG_POLL, QUEUE_PAUSED);
        } else {
            self.scheduler.hold(task);
        }
    }

    /// Looks for missing queues: a band or runs queue that did not exist when the worker started is
    /// served as soon as it exists, because senders use it from then on.
    fn look_for_missing(&mut self) {
        let known = self.queues.borrow().clone();
        if !known.missing.is_empty() && self.lookups.is_empty() && self.state.receives() {
            let broker = self.context.broker.clone();
            self.lookups
                .spawn(async move { broker.find_missing(&known).await });
        }
    }

    fn found(&mut self, queues: Result<QueueSet, tokio::task::JoinError>) {
        if let Ok(queues) = queues {
            self.receiver.serve(&queues);
            self.pause_queues();
            self.queues.send_replace(queues);
        }
    }

    /// The running or waiting task with this id.
    fn in_hand(&self, task_id: &str) -> Option<&Task> {
        let running = self.in_hand.get(task_id).map(|task| &**task);
        running.or_else(|| self.scheduler.get(task_id))
    }

    fn release(&mut self, task: Task, after: Duration, reason: &'static str) {
        let (context, span) = (self.context.clone(), task.span());
        let released = async move { context.release(&task, after, reason).await };
        self.chores.spawn(released.instrument(span));
    }

    /// Sets the worker's state. `time` is the time left to running tasks, in a state that has an
    /// end.
    fn become_state(&mut self, state: WorkerState, time: Option<Duration>) {
        info!("worker {} is {}", self.options.worker, state.word());
        self.state = state;
        Service::report(state, self.restarts);
        self.ends_in(time);
        if !state.receives() {
            for task in self.scheduler.take_all() {
                self.release(task, Duration::ZERO, "the worker takes no more");
            }
            self.receiver.abandon();
        }
    }

    /// Records and publishes, with the state, when running tasks are interrupted or killed.
    fn ends_in(&mut self, time: Option<Duration>) {
        let draining = time.filter(|_| self.state == WorkerState::Draining);
        self.stop_at = draining.map(|time| tokio::time::Instant::now() + time);
        let deadline = time.and_then(|time| Timestamp::now().checked_add(time).ok());
        let state = self.state;
        self.context.events.send(Event::State { state, deadline });
    }

    fn send_slots(&self) {
        let (steps, runs) = (self.step_slots(), self.scheduler.runs);
        vitals().slots(steps.target + runs.target);
        self.context.events.send(Event::Slots {
            steps: steps.target,
            runs: runs.target,
            range: steps.range,
        });
    }
}

async fn retry_at(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
