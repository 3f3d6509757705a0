//! A fault specification, in JSON or YAML.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sqs_server::actions::ACTIONS;
use crate::sqs_server::error::{ErrorKind, SqsError};

/// The longest latency, in milliseconds: SDKs give up earlier.
const LONGEST: u64 = 600_000;

/// Effect on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is refused with `RequestThrottled`.
    Throttle,
    /// It is refused with any error.
    Error,
    /// It takes longer.
    Latency,
    /// Received messages are delivered once more.
    Duplicate,
    /// It receives nothing although the queue has messages.
    #[serde(alias = "empty", alias = "empty_receives")]
    EmptyReceive,
    /// It is processed and not answered.
    #[serde(alias = "lose", alias = "lose_the_answer")]
    LoseAnswer,
}

impl Effect {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Error => "error",
            Self::Latency => "latency",
            Self::Duplicate => "duplicate",
            Self::EmptyReceive => "empty_receive",
            Self::LoseAnswer => "lose_answer",
        }
    }
}

/// A fault, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "FaultSpec")]
pub struct Fault {
    /// The effect.
    #[serde(rename = "kind")]
    pub effect: Effect,
    /// Affected actions; all if empty.
    #[serde(rename = "action", skip_serializing_if = "Vec::is_empty")]
    actions: Vec<String>,
    /// Affected queue; `*` stands for any characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Affected share of the matching requests, 0 to 1.
    pub share: f64,
    /// Seed that decides which requests are affected.
    pub seed: u64,
    /// Maximum number of affected requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
}

impl Fault {
    /// Whether the fault applies to this action.
    #[must_use]
    pub fn has_action(&self, action: &str) -> bool {
        match self.effect {
            Effect::Duplicate | Effect::EmptyReceive => action == "ReceiveMessage",
            _ => self.actions.is_empty() || self.actions.iter().any(|known| known == action),
        }
    }

    /// Additional latency of a request.
    #[must_use]
    pub fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms.unwrap_or_default())
    }

    /// The error a request is answered with.
    #[must_use]
    pub fn error(&self) -> SqsError {
        let text = |default: &str| self.message.clone().unwrap_or_else(|| default.to_owned());
        if self.effect == Effect::Throttle {
            return SqsError::new(ErrorKind::RequestThrottled, text("Rate exceeded"));
        }
        let code = self.code.as_deref().unwrap_or("InternalFailure");
        SqsError::named(code, self.status, text("This error was asked for."))
    }
}

/// A fault as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultSpec {
    kind: Effect,
    action: Option<Names>,
    queue: Option<String>,
    share: Option<f64>,
    seed: Option<u64>,
    count: Option<u64>,
    code: Option<String>,
    status: Option<u16>,
    message: Option<String>,
    latency_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<FaultSpec> for Fault {
    type Error = String;

    fn try_from(spec: FaultSpec) -> Result<Self, String> {
        let actions = match spec.action {
            None => Vec::new(),
            Some(Names::One(name)) => vec![name],
            Some(Names::Many(names)) => names,
        };
        if let Some(unknown) = actions
            .iter()
            .find(|name| !ACTIONS.contains(&name.as_str()))
        {
            return Err(format!("SQS has no action {unknown}"));
        }
        let fault = Self {
            effect: spec.kind,
            actions,
            queue: spec.queue,
            share: spec.share.unwrap_or(1.0),
            seed: spec.seed.unwrap_or_default(),
            count: spec.count,
            code: spec.code,
            status: spec.status,
            message: spec.message,
            latency_ms: spec.latency_ms,
        };
        match fault.mistake() {
            None => Ok(fault),
            Some(mistake) => Err(mistake.to_owned()),
        }
    }
}

impl Fault {
    fn mistake(&self) -> Option<&'static str> {
        if !(0.0..=1.0).contains(&self.share) {
            return Some("share must be 0 to 1");
        }
        let only_receives = matches!(self.effect, Effect::Duplicate | Effect::EmptyReceive);
        if only_receives && self.actions.iter().any(|name| name != "ReceiveMessage") {
            return Some("duplicate and empty_receive are about ReceiveMessage only");
        }
        let is_code = |code: &str| code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
        if self
            .code
            .as_deref()
            .is_some_and(|code| code.is_empty() || !is_code(code))
        {
            return Some("code must be letters, digits and dots");
        }
        if self
            .status
            .is_some_and(|status| !(400..600).contains(&status))
        {
            return Some("status must be 400 to 599");
        }
        let has_error = self.code.is_some() || self.status.is_some();
        if has_error && self.effect != Effect::Error {
            return Some("code and status are for the kind error only");
        }
        let refuses = matches!(self.effect, Effect::Error | Effect::Throttle);
        if self.message.is_some() && !refuses {
            return Some("message is for the kinds error and throttle only");
        }
        match (self.effect, self.latency_ms) {
            (Effect::Latency, Some(1..=LONGEST)) => None,
            (Effect::Latency, _) => Some("latency needs latency_ms, 1 to 600000"),
            (_, Some(_)) => Some("latency_ms is for the kind latency only"),
            (_, None) => None,
        }
    }
}
