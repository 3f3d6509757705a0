//! Routes an operator's command to its targets, and combines the answers to one sentence.

use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::dagster_commands;
use super::state::FleetState;
use super::webserver::{self, WebserverHandle};
use crate::dagster::{Client, DagsterError};
use crate::domain::{Command, Danger, Query, Reply, Route};
use crate::fleet::client::answer_within;
use crate::protocol::Request;
use crate::protocol::audit::{self, AuditLog};

/// State needed to route a command.
#[derive(Debug)]
pub(super) struct Dispatcher {
    read_only: bool,
    audit: Option<AuditLog>,
    /// Dagster's webserver, if one is known.
    dagster: Option<Result<Client, DagsterError>>,
    poller: Option<WebserverHandle>,
    /// Receiver of the webserver's updates.
    updates: mpsc::Sender<webserver::WebserverUpdate>,
    /// Fallback for commands about queues that no connected worker can carry out.
    direct_queues: Option<mpsc::Sender<Request>>,
    /// Starter of workers.
    starter: Option<mpsc::Sender<Request>>,
}

impl Dispatcher {
    /// Creates a dispatcher without a webserver.
    pub(super) fn new(
        read_only: bool,
        audit: Option<AuditLog>,
        updates: mpsc::Sender<webserver::WebserverUpdate>,
        direct_queues: Option<mpsc::Sender<Request>>,
        starter: Option<mpsc::Sender<Request>>,
    ) -> Self {
        Self {
            read_only,
            audit,
            dagster: None,
            poller: None,
            updates,
            direct_queues,
            starter,
        }
    }

    /// Uses this webserver from now on.
    pub(super) fn use_webserver(&mut self, url: &str) {
        let client = Client::new(url);
        self.poller = Some(webserver::start(client.clone(), self.updates.clone()));
        self.dagster = Some(client);
    }

    /// Returns the future that carries out a request, to be run beside the aggregator. Its
    /// addressees are already determined.
    pub(super) fn dispatch(&self, request: Request, state: &FleetState) -> BoxFuture<'static, ()> {
        let Request {
            worker,
            command,
            reason,
            reply,
        } = request;
        let outcome = self.outcome(worker.as_deref(), command, reason, state);
        async move {
            // The caller may have gone; the command is carried out all the same.
            let _ = reply.send(outcome.await);
        }
        .boxed()
    }

    fn outcome(
        &self,
        worker: Option<&str>,
        command: Command,
        reason: Option<String>,
        state: &FleetState,
    ) -> BoxFuture<'static, Reply> {
        let verb = command.verb();
        if self.read_only && command.danger() != Danger::Safe {
            let refusal = Reply::Failed(format!("{verb} was refused: this console is read-only"));
            let refused = async move { refusal }.boxed();
            return self.recorded(worker, command, reason, refused);
        }
        if let Command::Query(Query::OlderRuns { statuses, before }) = command {
            let poller = self.poller.clone();
            return async move {
                match poller {
                    Some(poller) => poller.older(statuses, before).await,
                    // Without a webserver no runs are known.
                    None => webserver::counted(0, true),
                }
            }
            .boxed();
        }
        if command.route() == Route::Dagster {
            let done = self.send_to_dagster(command.clone());
            return self.recorded(worker, command, reason, done);
        }
        if command.route() == Route::Console {
            let started = request_start(self.starter.clone()).boxed();
            return self.recorded(worker, command, reason, started);
        }
        match addressees(worker, &command, state) {
            Ok(addressees) => send_to_workers(addressees, command, reason).boxed(),
            Err(NoAddressee::ForDirectQueues(_)) if self.direct_queues.is_some() => {
                let done =
                    send_to_direct_queues(self.direct_queues.clone(), command.clone()).boxed();
                self.recorded(worker, command, reason, done)
            }
            Err(NoAddressee::ForDirectQueues(why) | NoAddressee::Named(why)) => {
                async move { Reply::Failed(format!("{verb} was not sent: {why}")) }.boxed()
            }
        }
    }

    /// Records commands that no worker sees.
    fn recorded(
        &self,
        worker: Option<&str>,
        command: Command,
        reason: Option<String>,
        outcome: BoxFuture<'static, Reply>,
    ) -> BoxFuture<'static, Reply> {
        let audit = self.audit.clone();
        let worker = worker.unwrap_or("every worker").to_owned();
        async move {
            let reply = outcome.await;
            let entry = audit::own_entry(&worker, &command, &reply);
            if let (Some(audit), Some(entry)) = (audit, entry) {
                audit.record(entry.because(reason.as_deref())).await;
            }
            reply
        }
        .boxed()
    }

    fn send_to_dagster(&self, command: Command) -> BoxFuture<'static, Reply> {
        let verb = command.verb();
        let refused = |reason: String| async move { Reply::Failed(reason) }.boxed();
        let client = match &self.dagster {
            Some(Ok(client)) => client.clone(),
            Some(Err(error)) => return refused(error.to_string()),
            None => {
                return refused(format!(
                    "{verb} was not sent: no Dagster webserver is configured: start the console with --webserver-url URL"
                ));
            }
        };
        let poller = self.poller.clone();
        async move {
            let reads = command.danger() == Danger::Safe;
            let reply = dagster_commands::run(&client, command).await;
            if !reads && let Some(poller) = poller {
                poller.poll_now(true);
            }
            reply
        }
        .boxed()
    }
}

/// Command line that does the same without a worker.
const BY_HAND: &str =
    "use `dagster-taskiq-tui queue` on a host that reaches the broker, or start a worker there";

/// Reason why a command has no addressee.
#[derive(Debug)]
enum NoAddressee {
    /// No linked worker can carry it out, but the console itself may.
    ForDirectQueues(String),
    /// Its target is missing.
    Named(String),
}

/// A worker's id and its channel.
type Addressee = (String, mpsc::Sender<Request>);

/// The workers a command is for. A command about a queue or an archive is carried out by one of
/// them.
fn addressees(
    worker: Option<&str>,
    command: &Command,
    state: &FleetState,
) -> Result<Vec<Addressee>, NoAddressee> {
    let mut linked: Vec<_> = state.up().collect();
    if let Some(id) = worker {
        let several: Vec<&str> = linked
            .iter()
            .filter(|(known, _)| {
                known
                    .strip_prefix(id)
                    .is_some_and(|rest| rest.starts_with('@'))
            })
            .map(|(known, _)| *known)
            .collect();
        let several = several.join(" or ");
        linked.retain(|(known, _)| *known == id);
        if linked.is_empty() && !several.is_empty() {
            let reason = format!("several workers are named {id}: say {several}");
            return Err(NoAddressee::Named(reason));
        }
        if linked.is_empty() {
            return Err(NoAddressee::Named(format!("worker {id} is not connected")));
        }
    }
    let route = command.route();
    if matches!(route, Route::Storage | Route::Alarms | Route::Queues(None)) {
        linked.truncate(1);
    }
    if let Some(queue) = command.queue().filter(|_| !linked.is_empty()) {
        let subscribed = linked.iter().position(|(_, link)| {
            let known = link.snapshot.as_ref();
            known.is_some_and(|last| last.queues.iter().any(|view| view.name == queue))
        });
        let Some(first) = subscribed else {
            return Err(NoAddressee::ForDirectQueues(format!(
                "no connected worker is subscribed to queue {queue}; {BY_HAND}"
            )));
        };
        linked = vec![linked.swap_remove(first)];
    }
    if linked.is_empty() {
        let start_one = || "no worker is connected; start one".to_owned();
        return Err(match route {
            Route::Storage => NoAddressee::ForDirectQueues(start_one()),
            Route::Queues(_) => {
                NoAddressee::ForDirectQueues(format!("no worker is connected; {BY_HAND}"))
            }
            Route::Worker | Route::Alarms | Route::Dagster | Route::Console => {
                NoAddressee::Named(start_one())
            }
        });
    }
    Ok(linked
        .into_iter()
        .map(|(id, link)| (id.to_owned(), link.handle.requests.clone()))
        .collect())
}

async fn send_to_workers(
    addressees: Vec<Addressee>,
    command: Command,
    reason: Option<String>,
) -> Reply {
    let verb = command.verb();
    let replies = addressees.into_iter().map(|(id, requests)| {
        let (command, reason) = (command.clone(), reason.clone());
        async move { (send(&requests, command, reason).await, id) }
    });
    gather(verb, join_all(replies).await)
}

async fn send(requests: &mpsc::Sender<Request>, command: Command, reason: Option<String>) -> Reply {
    let (verb, limit) = (command.verb(), answer_within(&command));
    let (request, outcome) = Request::new(command);
    // Many rows may be marked: a command without room waits for those before it.
    match timeout(limit, requests.reserve()).await {
        Ok(Ok(room)) => room.send(Request { reason, ..request }),
        Ok(Err(_)) => return Reply::Failed(format!("{verb} was not sent: the worker is gone")),
        Err(_) => {
            let text =
                format!("{verb} was not sent: the worker does not answer what was sent before");
            return Reply::Failed(text);
        }
    }
    match timeout(limit, outcome).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => Reply::Failed(format!(
            "the link broke before {verb} was answered; look at its state"
        )),
        Err(_) => {
            let seconds = limit.as_secs();
            Reply::Failed(format!(
                "{verb} was not answered within {seconds} s; it may still be done"
            ))
        }
    }
}

/// Sends the command to this console's own direct access to the queues.
async fn send_to_direct_queues(
    direct_queues: Option<mpsc::Sender<Request>>,
    command: Command,
) -> Reply {
    let (verb, limit) = (command.verb(), answer_within(&command));
    let (request, outcome) = Request::new(command);
    if direct_queues.is_none_or(|direct_queues| direct_queues.try_send(request).is_err()) {
        return Reply::Failed(format!("{verb} was not done: too many commands wait"));
    }
    match timeout(limit, outcome).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => Reply::Failed(format!("{verb} broke off; look at the queue's state")),
        Err(_) => {
            let seconds = limit.as_secs();
            Reply::Failed(format!(
                "{verb} did not end within {seconds} s; it may still be done"
            ))
        }
    }
}

/// Requests the start of a worker. It may take as long as its imports: the starter has its own
/// timeout.
async fn request_start(starter: Option<mpsc::Sender<Request>>) -> Reply {
    let Some(starter) = starter else {
        let text = "no worker was started: this console starts none; `dagster-taskiq-tui worker \
                    start --background` does, on the worker's host";
        return Reply::Failed(text.to_owned());
    };
    let (request, outcome) = Request::new(Command::StartWorker);
    if starter.try_send(request).is_err() {
        return Reply::Failed(String::from(
            "no worker was started: others are being started, try again then",
        ));
    }
    let lost = || Reply::Failed(String::from("no word came of the worker's start"));
    outcome.await.unwrap_or_else(|_| lost())
}

/// Combines several answers to one sentence.
fn gather(verb: &str, mut replies: Vec<(Reply, String)>) -> Reply {
    if replies.len() == 1 {
        return replies.swap_remove(0).0;
    }
    let all = replies.len();
    let mut failures = Vec::new();
    let mut done = Vec::new();
    for (reply, id) in replies {
        match (&reply, reply.problem()) {
            (_, Some(problem)) => failures.push(format!("{id}: {problem}")),
            // A query is for one worker: several answers are not one.
            (Reply::Answer(_), None) => failures.push(format!("{id}: name one worker")),
            (done_there, None) => done.push(done_there.text().to_owned()),
        }
    }
    if !failures.is_empty() {
        let (count, reasons) = (failures.len(), failures.join("; "));
        return Reply::Failed(format!(
            "{verb} failed on {count} of {all} workers: {reasons}"
        ));
    }
    done.dedup();
    Reply::Done(format!("{all} workers: {}", done.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fine: bool, text: &str, id: &str) -> (Reply, String) {
        let reply = if fine { Reply::Done } else { Reply::Failed };
        (reply(text.to_owned()), id.to_owned())
    }

    #[test]
    fn one_answer_stands_for_itself_and_several_become_one_sentence() {
        let one = gather("pause", vec![answer(true, "paused", "a")]);
        assert_eq!(one, Reply::Done("paused".to_owned()));
        let same = gather(
            "pause",
            vec![answer(true, "paused", "a"), answer(true, "paused", "b")],
        );
        assert_eq!(same, Reply::Done("2 workers: paused".to_owned()));
        let mixed = gather(
            "pause",
            vec![
                answer(true, "paused", "a"),
                answer(false, "it is ending", "b"),
            ],
        );
        let sentence = "pause failed on 1 of 2 workers: b: it is ending";
        assert_eq!(mixed, Reply::Failed(sentence.to_owned()));
    }
}
