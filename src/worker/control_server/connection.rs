//! One console's connection: its identity and its commands. The data it receives is in `feed`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::feed::{feed_logs, feed_snapshots, write_frames};
use crate::domain::{Command, Danger, Reply, Route};
use crate::protocol::frames::{
    ClientFrame, ClientHello, FrameReader, FrameWriter, PROTOCOL, ServerFrame, decode, encode,
    reader, user_name, writer,
};
use crate::protocol::{Request, audit};

/// Timeout of a client's greeting.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// Timeout of a look-up in the system's user database.
const NAME_WITHIN: Duration = Duration::from_secs(2);

/// Maximum number of commands of one client awaiting their outcome; a user sends one at a time.
const MAX_PENDING: usize = 16;

/// Time for the reply to reach the client before SIGKILL; best effort.
const KILL_REPLY_DELAY: Duration = Duration::from_millis(100);

/// Identity of the other end.
struct Peer {
    user: String,
    from: String,
    read_only: bool,
}

/// Serves one client until it leaves or `ending` is cancelled.
pub(super) async fn serve(
    stream: UnixStream,
    context: Arc<Context>,
    room: bool,
    ending: CancellationToken,
) {
    let uid = stream.peer_cred().map(|peer| peer.uid());
    let (read, write) = stream.into_split();
    let (mut input, mut output) = (reader(read), writer(write));
    let hello = match greet(
        &context,
        room,
        uid.as_ref().ok().copied(),
        &mut input,
        &mut output,
    )
    .await
    {
        Ok(hello) => hello,
        Err(refusal) => {
            if let Some(reason) = refusal {
                tracing::warn!("refused a console: {reason}");
                let _ = send(&mut output, &ServerFrame::Refused { reason }).await;
            }
            return;
        }
    };
    let peer = Peer {
        user: match uid {
            Ok(uid) => name_of(uid).await,
            Err(_) => "?".to_owned(),
        },
        from: hello.from,
        read_only: hello.read_only,
    };
    // One waiting frame of each kind: newer ones wait at their source, which is bounded.
    let (replies, replies_out) = mpsc::channel(1);
    let (snapshots, snapshots_out) = mpsc::channel(1);
    let (logs, logs_out) = mpsc::channel(1);
    let published = &context.published;
    let snapshots = async {
        if hello.snapshots {
            feed_snapshots(published.look().await, snapshots, &ending).await;
        }
    };
    tokio::join!(
        async {
            commands(&mut input, &context, &peer, replies, &ending).await;
            ending.cancel();
        },
        snapshots,
        feed_logs(&published.logs, hello.logs, logs, &ending),
        async {
            // A client that has stopped reading must not keep its place forever.
            let give_up = async {
                ending.cancelled().await;
                sleep(super::FLUSH).await;
            };
            tokio::select! {
                _ = write_frames(output, replies_out, snapshots_out, logs_out) => ending.cancel(),
                () = give_up => {}
            }
        },
    );
}

/// Exchanges greetings. `Err(None)` is a client that just left.
async fn greet(
    context: &Context,
    room: bool,
    uid: Option<u32>,
    input: &mut FrameReader<OwnedReadHalf>,
    output: &mut FrameWriter<OwnedWriteHalf>,
) -> Result<ClientHello, Option<String>> {
    let own = rustix::process::geteuid().as_raw();
    if uid.is_none_or(|uid| uid != own && uid != 0) {
        return Err(Some(
            "the control socket is for its owner and root only".to_owned(),
        ));
    }
    if !room {
        return Err(Some(
            "this worker has as many consoles as it takes; close one".to_owned(),
        ));
    }
    let hello = ServerFrame::Hello(context.hello.clone());
    send(output, &hello).await.map_err(|_| None)?;
    let first = match timeout(HELLO_WITHIN, input.next()).await {
        Ok(Some(Ok(first))) => first,
        Ok(_) => return Err(None),
        Err(_) => return Err(Some("the client did not say who it is".to_owned())),
    };
    match decode(&first) {
        Ok(ClientFrame::Hello(hello)) if hello.protocol == PROTOCOL => Ok(hello),
        Ok(ClientFrame::Hello(hello)) => Err(Some(format!(
            "this worker speaks control protocol {PROTOCOL}, the client (version {}) {}",
            hello.version, hello.protocol
        ))),
        Ok(ClientFrame::Command { .. }) => Err(Some("the first frame must be a hello".to_owned())),
        Err(error) => Err(Some(format!(
            "the client's first frame cannot be read: {error}"
        ))),
    }
}

async fn send(output: &mut FrameWriter<OwnedWriteHalf>, frame: &ServerFrame) -> io::Result<()> {
    output.send(encode(frame)?).await
}

/// The name of a client's user; its number if the user database does not answer: a worker can be
/// killed all the same.
async fn name_of(uid: u32) -> String {
    let name = timeout(NAME_WITHIN, spawn_blocking(move || user_name(uid))).await;
    name.map_or_else(|_| format!("uid {uid}"), Result::unwrap_or_default)
}

/// Reads commands and answers each, in the order in which they complete. When the client leaves,
/// its commands are still carried out and recorded.
async fn commands(
    input: &mut FrameReader<OwnedReadHalf>,
    context: &Context,
    peer: &Peer,
    replies: mpsc::Sender<Bytes>,
    ending: &CancellationToken,
) {
    let mut pending = FuturesUnordered::new();
    let mut listening = true;
    while listening || !pending.is_empty() {
        tokio::select! {
            frame = input.next(), if listening && pending.len() < MAX_PENDING => {
                let bytes = frame.and_then(Result::ok);
                match bytes.as_deref().map(decode::<ClientFrame>) {
                    Some(Ok(ClientFrame::Command { id, command, reason })) => {
                        pending.push(async move {
                            let reply = carry_out(context, peer, command, reason).await;
                            ServerFrame::Reply { id, reply }
                        }.boxed());
                    }
                    Some(Ok(ClientFrame::Hello(_))) => {}
                    Some(Err(error)) => {
                        if let Some(id) = bytes.as_deref().and_then(unknown_command) {
                            // A newer console may know commands that this worker does not.
                            let version = &context.hello.version;
                            let reply = Reply::Failed(format!(
                                "this worker (version {version}) does not know this command"
                            ));
                            let frame = ServerFrame::Reply { id, reply };
                            pending.push(std::future::ready(frame).boxed());
                        } else {
                            tracing::warn!("a console sent no command ({error}); closing its link");
                            listening = false;
                            ending.cancel();
                        }
                    }
                    None => {
                        listening = false;
                        ending.cancel();
                    }
                }
            }
            Some(reply) = pending.next() => {
                if let Ok(bytes) = encode(&reply) {
                    // Fails when the client has left.
                    let _ = replies.send(bytes).await;
                }
            }
            () = ending.cancelled(), if listening => listening = false,
        }
    }
}

/// The id of a command that cannot be decoded otherwise.
fn unknown_command(bytes: &[u8]) -> Option<u64> {
    let frame: serde_json::Value = decode(bytes).ok()?;
    frame.get("command")?.get("id")?.as_u64()
}

async fn carry_out(
    context: &Context,
    peer: &Peer,
    command: Command,
    reason: Option<String>,
) -> Reply {
    let reply = match refusal(context, peer, &command) {
        Some(reason) => Reply::Failed(reason),
        // Not handled by the pool, because a hanging pool is the usual reason for a kill.
        None if command == Command::Kill => Reply::Done("killed".to_owned()),
        None => forward(context, command.clone()).await,
    }
    .redacted();
    let worker = &context.hello.worker;
    let entry = audit::entry(&peer.user, &peer.from, worker, &command, &reply);
    if let (Some(audit), Some(entry)) = (&context.audit, entry) {
        audit.record(entry.because(reason.as_deref())).await;
    }
    if command == Command::Kill && matches!(reply, Reply::Done(_)) {
        tracing::error!("killed by {} ({})", peer.from, peer.user);
        tokio::spawn(kill_this_process());
    }
    reply
}

/// Ends this process like `kill -9`: its hosts notice, and kill their tasks.
async fn kill_this_process() {
    sleep(KILL_REPLY_DELAY).await;
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

fn refusal(context: &Context, peer: &Peer, command: &Command) -> Option<String> {
    let verb = command.verb();
    let worker = &context.hello.worker;
    if command.danger() != Danger::Safe {
        if context.hello.read_only {
            return Some(format!("{verb} was refused: worker {worker} is read-only"));
        }
        if peer.read_only {
            return Some(format!("{verb} was refused: this console is read-only"));
        }
    }
    (command.route() == Route::Dagster)
        .then(|| format!("{verb} goes to Dagster's webserver, not to worker {worker}"))
}

async fn forward(context: &Context, command: Command) -> Reply {
    let worker = &context.hello.worker;
    let verb = command.verb();
    let (request, outcome) = Request::new(command);
    match context.requests.try_send(request) {
        Ok(()) => outcome.await.unwrap_or_else(|_| {
            Reply::Failed(format!("worker {worker} ended before it answered {verb}"))
        }),
        Err(TrySendError::Full(_)) => Reply::Failed(format!(
            "{verb} was not sent: worker {worker} is busy; try again"
        )),
        Err(TrySendError::Closed(_)) => {
            Reply::Failed(format!("{verb} was not sent: worker {worker} is ending"))
        }
    }
}
