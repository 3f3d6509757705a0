//! `broker reset`: returns a running broker to its initial state.

use axum::http::Request;
use clap::Args;

use super::running::RunningBroker;
use super::{BrokerError, keys};
use crate::cli::output::out;
use crate::domain::innermost;
use crate::sqs_server::admin::{Gone, RESET, Refusal, Reset};

/// Which broker, and what goes.
#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    #[command(flatten)]
    broker: RunningBroker,
    /// Remove the queues, too, and not only their messages; those of its configuration file are made
    /// anew
    #[arg(long)]
    queues: bool,
    /// Only what is of this account, twelve digits; faults stay
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    #[command(flatten)]
    keys: keys::KeyArgs,
}

impl ResetArgs {
    /// Resets the broker and prints what was removed.
    pub async fn run(self) -> Result<(), BrokerError> {
        let keys = self.keys.pair()?;
        let (client, endpoint, _) = self.broker.query_status().await?;
        let unreachable = |error: reqwest::Error| BrokerError::Unreachable {
            endpoint: endpoint.clone(),
            detail: innermost(&error),
        };
        let body = serde_json::to_vec(&Reset {
            queues: self.queues,
            account: self.account,
        })
        .unwrap_or_default();
        let mut request = client.post(format!("{endpoint}{RESET}")).body(body.clone());
        if let Some(keys) = keys {
            let host = endpoint.split_once("://").map_or("", |(_, host)| host);
            let signed = Request::post(RESET).header("host", host).body(());
            if let Ok(signed) = signed {
                for (name, value) in keys.sign(signed.into_parts().0, &body) {
                    request = request.header(name, value);
                }
            }
        }
        let response = request.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            let status = response.status();
            let text = response.text().await.map_err(unreachable)?;
            let refusal = serde_json::from_str::<Refusal>(&text).ok();
            let reason = refusal.map_or_else(
                || format!("it answers {status}; give its --access-key and --secret-key-file"),
                |refusal| refusal.error,
            );
            return Err(BrokerError::Refused { endpoint, reason });
        }
        let gone = response.json::<Gone>().await.map_err(unreachable)?;
        let (queues, messages) = (gone.queues_removed, gone.messages_removed);
        out!("the broker at {endpoint} is reset: {queues} queues and {messages} messages removed");
        Ok(())
    }
}
