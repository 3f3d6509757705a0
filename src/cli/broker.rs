//! `broker serve`, `broker status`, `broker reset` and `broker stop`.

mod keys;
mod reset;
mod running;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::output::note;
use crate::config::parse_yaml;
use crate::protocol::frames::own_host;
use crate::sqs_server::declared::Declared;
use crate::sqs_server::guard::Allowed;
use crate::sqs_server::guard::address::{Host, Origin};
use crate::sqs_server::journal::Durability;
use crate::sqs_server::tls::TlsFiles;
use crate::sqs_server::{SqsServer, SqsServerConfig, SqsServerError, account};
use crate::telemetry::{self, TelemetryError};
pub(super) use keys::SECRET_KEY_VARIABLE;
use running::RunningBroker;

/// The embedded SQS-compatible broker.
#[derive(Debug, Args)]
pub struct Broker {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve queues over HTTP, as SQS does, until SIGTERM or SIGINT
    Serve(Serve),
    /// Show the queues and disk use of a running broker
    Status(RunningBroker),
    /// Remove the messages of a running broker, or its queues as well
    Reset(reset::ResetArgs),
    /// End a running broker of this host; its queues and messages stay in its folder
    Stop(RunningBroker),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address and port to listen on; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:9324")]
    listen: SocketAddr,
    /// Folder for queues and messages; made when absent
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// When a request is answered: after its effect is on the disk, or handed to the system
    #[arg(long, value_enum, default_value_t)]
    durability: Durability,
    #[command(flatten)]
    keys: keys::KeyArgs,
    /// Answer to this host name, such as the name of a Compose service; localhost and the address
    /// to listen on need none. May be repeated
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<Host>,
    /// Let web pages of this origin (scheme, host and port) use the broker; all others are refused.
    /// May be repeated
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<Origin>,
    /// YAML file with queues, templates of queues and faults (docs/reference/broker.md)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Encrypt connections (HTTPS) with the certificate in this PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum BrokerError {
    #[error(transparent)]
    Broker(#[from] SqsServerError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Keys(#[from] keys::KeyError),
    #[error("cannot read the configuration file {}: {source}; check --config", path.display())]
    Config {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "the configuration file {} cannot be used: {problem}; correct that line", path.display()
    )]
    BadConfig { path: PathBuf, problem: String },
    #[error("the broker cannot start its runtime: {0}; raise the limit on threads")]
    Runtime(std::io::Error),
    #[error("the broker cannot watch for signals: {0}; start it again")]
    Signals(std::io::Error),
    #[error("the broker's endpoint cannot be printed: {0}; give it a standard output to write to")]
    Output(std::io::Error),
    #[error(
        "no broker answers at {endpoint}: {detail}; start one with `dagster-taskiq-tui broker \
         serve`, or name another with --endpoint"
    )]
    Unreachable { endpoint: String, detail: String },
    #[error(
        "what listens at {endpoint} is not this program's broker; name the right one with \
         --endpoint"
    )]
    Foreign { endpoint: String },
    #[error("the broker at {endpoint} refuses this request: {reason}")]
    Refused { endpoint: String, reason: String },
    #[error(
        "cannot stop the broker at {endpoint}: process {pid} of this host is not it, so it runs on \
         another host or in a container; stop it there"
    )]
    Elsewhere { endpoint: String, pid: u32 },
    #[error("cannot stop the broker at {endpoint} (pid {pid}): {source}; stop it as its owner")]
    Signal {
        endpoint: String,
        pid: u32,
        source: std::io::Error,
    },
    #[error(
        "the broker at {endpoint} (pid {pid}) was told to end and still runs after {} s; see what \
         it says on its standard error", running::ENDS_WITHIN.as_secs()
    )]
    StillRunning { endpoint: String, pid: u32 },
}

impl Broker {
    /// Runs the subcommand; an error is one sentence on standard error and exit code 1.
    #[must_use]
    pub fn run(self) -> ExitCode {
        // The server has a thread of its own; this one waits for signals.
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BrokerError::Runtime)
            .and_then(|runtime| match self.verb {
                Verb::Serve(serve) => runtime.block_on(serve.run()),
                Verb::Status(broker) => runtime.block_on(broker.show()),
                Verb::Reset(reset) => runtime.block_on(reset.run()),
                Verb::Stop(broker) => runtime.block_on(broker.stop()),
            });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                note!("dagster-taskiq-tui: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Serve {
    async fn run(self) -> Result<(), BrokerError> {
        // Before the announcement: a signal must never meet the default action.
        let shutdown = shutdown_signal().map_err(BrokerError::Signals)?;
        // Later errors, such as a full disk, are logged to standard error.
        let _log = telemetry::init(telemetry::Options {
            stderr: true,
            ..telemetry::Options::default()
        })?;
        let declared = self.config.map(declared_in).transpose()?;
        let keys = self.keys.pair()?;
        let account = keys
            .as_ref()
            .map(|keys| account::of_access_key(&keys.access_key).to_owned());
        let is_open = keys.is_none();
        if is_open && !self.listen.ip().to_canonical().is_loopback() {
            note!(
                "warning: {} is not a loopback address and there is no authentication: everyone who \
                 reaches it can read and change every queue; set --access-key and \
                 --secret-key-file",
                self.listen
            );
        }
        let named = self.allow_host.first().cloned();
        let broker = SqsServer::bind(SqsServerConfig {
            listen: self.listen,
            data_dir: self.data_dir,
            durability: self.durability,
            keys,
            allowed: Allowed {
                hosts: self.allow_host,
                origins: self.allow_origin,
            },
            tls: self
                .tls_cert
                .zip(self.tls_key)
                .map(|(cert, key)| TlsFiles { cert, key }),
            declared: declared.unwrap_or_default(),
        })
        .await?;
        let endpoint = endpoint(broker.scheme(), broker.address(), named.as_ref());
        announce(&endpoint, account.as_deref()).map_err(BrokerError::Output)?;
        if let Some(hint) = hint(broker.address(), named.as_ref(), &own_host()) {
            note!("{hint}");
        }
        broker.serve(shutdown).await?;
        Ok(())
    }
}

/// Reads the declarations of a configuration file.
fn declared_in(path: PathBuf) -> Result<Declared, BrokerError> {
    match std::fs::read_to_string(&path) {
        Err(source) => Err(BrokerError::Config { path, source }),
        Ok(text) => parse_yaml(&text).map_err(|problem| BrokerError::BadConfig { path, problem }),
    }
}

/// The endpoint for clients. A server that listens on every address has no single one of its own:
/// the first name of `--allow-host` is used, without one this machine's own point of view.
fn endpoint(scheme: &str, mut address: SocketAddr, named: Option<&Host>) -> String {
    if let Some(host) = named.filter(|_| address.ip().is_unspecified()) {
        return format!("{scheme}://{host}:{}", address.port());
    }
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("{scheme}://{address}")
}

/// Says how clients on other hosts reach a server that listens on every address and allows no name.
fn hint(address: SocketAddr, named: Option<&Host>, own_host: &str) -> Option<String> {
    (named.is_none() && address.ip().is_unspecified()).then(|| {
        format!(
            "note: clients on other hosts connect to this host's address, port {}; if they use \
             its name, start the broker with --allow-host {own_host}",
            address.port()
        )
    })
}

/// Prints the client's settings; `account` is that of the broker's keys, if it has any.
fn announce(endpoint: &str, account: Option<&str>) -> std::io::Result<()> {
    let is_open = account.is_none();
    let account = account.unwrap_or(account::DEFAULT);
    let mut out = std::io::stdout().lock();
    writeln!(out, "endpoint: {endpoint}")?;
    writeln!(out, "export DAGSTER_TASKIQ_SQS_ENDPOINT_URL={endpoint}")?;
    writeln!(
        out,
        "export DAGSTER_TASKIQ_SQS_QUEUE_URL={endpoint}/{account}/dagster-tasks"
    )?;
    let keys = " AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local";
    writeln!(
        out,
        "export AWS_DEFAULT_REGION=us-east-1{}",
        if is_open { keys } else { "" }
    )?;
    out.flush()
}

fn shutdown_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{endpoint, hint};

    #[test]
    fn the_printed_endpoint_is_one_that_clients_can_reach() {
        for (listens, reached) in [
            (([0, 0, 0, 0], 80).into(), "http://127.0.0.1:80"),
            (([10, 1, 2, 3], 9_324).into(), "http://10.1.2.3:9324"),
            (([0_u16; 8], 81).into(), "http://[::1]:81"),
        ] {
            assert_eq!(endpoint("http", listens, None), reached);
        }
        let named = "etl-1".parse().ok();
        for (listens, reached) in [
            (([0, 0, 0, 0], 80).into(), "https://etl-1:80"),
            (([10, 1, 2, 3], 80).into(), "https://10.1.2.3:80"),
            (([127, 0, 0, 1], 80).into(), "https://127.0.0.1:80"),
        ] {
            assert_eq!(endpoint("https", listens, named.as_ref()), reached);
        }
    }

    #[test]
    fn clients_on_other_hosts_are_pointed_to_the_flag_for_the_name_they_use() {
        let every = ([0, 0, 0, 0], 9_324).into();
        let text = hint(every, None, "etl-1").unwrap_or_default();
        assert!(text.contains("--allow-host etl-1"), "{text}");
        let named = "etl-1".parse().ok();
        assert_eq!(hint(every, named.as_ref(), "etl-1"), None);
        assert_eq!(hint(([127, 0, 0, 1], 9_324).into(), None, "etl-1"), None);
    }
}
