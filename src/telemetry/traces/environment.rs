//! OpenTelemetry's own variables. The SDK reads most of them; these decide whether there are traces
//! at all.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::domain::is_loopback;

/// Default time for a request, as OpenTelemetry specifies it.
const TIMEOUT: Duration = Duration::from_secs(10);

const PROTOCOL: &str = "http/protobuf";

/// A collector that is to get traces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Configured {
    /// The part of its URL that may be logged: a path or query may hold a key.
    pub endpoint: String,
    /// Whether it is on this host, where no proxy is needed.
    pub is_loopback: bool,
    /// Time for a request.
    pub timeout: Duration,
    /// A sentence for each variable that has no effect.
    pub ignored: Vec<String>,
}

/// Variables for TLS, and what is done without them.
const TLS: [(&str, &str); 3] = [
    (
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "the collector's certificate must be of an authority that this host trusts",
    ),
    (
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        "the collector gets no certificate of this worker",
    ),
    (
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        "the collector gets no certificate of this worker",
    ),
];

/// Reads the variables; `None` if traces are off.
///
/// # Errors
/// One sentence: they ask for what is not supported.
pub(super) fn configured(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Configured>, String> {
    let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    // A variable for traces goes before the one for all signals.
    let either = |name: &str| {
        let own = name.replacen("OTLP_", "OTLP_TRACES_", 1);
        given(&own)
            .map(|value| (own, value))
            .or_else(|| Some((name.to_owned(), given(name)?)))
    };
    let Some((name, endpoint)) = either("OTEL_EXPORTER_OTLP_ENDPOINT") else {
        return Ok(None);
    };
    if given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    match given("OTEL_TRACES_EXPORTER").as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(other) => {
            return Err(format!(
                "OTEL_TRACES_EXPORTER is {other}; set it to otlp or none"
            ));
        }
    }
    let mut ignored = Vec::new();
    match given("OTEL_TRACES_SAMPLER").as_deref().map(str::trim) {
        None | Some("always_on" | "parentbased_always_on") => {}
        // A worker's spans have no parent that could be sampled.
        Some("always_off" | "parentbased_always_off") => return Ok(None),
        Some(other) => ignored.push(format!(
            "OTEL_TRACES_SAMPLER is {other}, which is not supported: all spans are sent; leave \
             samples to the collector"
        )),
    }
    if let Some((variable, compression)) = either("OTEL_EXPORTER_OTLP_COMPRESSION")
        && !compression.trim().eq_ignore_ascii_case("none")
    {
        ignored.push(format!(
            "{variable} is {compression}, which is not supported: spans are sent uncompressed"
        ));
    }
    for (name, effect) in TLS {
        if let Some((variable, _)) = either(name) {
            ignored.push(format!("{variable} is not supported: {effect}"));
        }
    }
    if let Some((variable, protocol)) = either("OTEL_EXPORTER_OTLP_PROTOCOL")
        && protocol != PROTOCOL
    {
        return Err(format!(
            "{variable} is {protocol}, and only {PROTOCOL} is supported; set \
             OTEL_EXPORTER_OTLP_TRACES_PROTOCOL and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (a collector's \
             port for HTTP is 4318)"
        ));
    }
    let timeout = match either("OTEL_EXPORTER_OTLP_TIMEOUT") {
        None => TIMEOUT,
        Some((variable, text)) => {
            let milliseconds = text.parse();
            let problem = |_| format!("{variable} is {text}; give a number of milliseconds");
            Duration::from_millis(milliseconds.map_err(problem)?)
        }
    };
    let url = Url::parse(&endpoint).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let problem = || format!("{name} is not an HTTP URL; give http://HOST:4318");
    let url = url.ok_or_else(problem)?;
    Ok(Some(Configured {
        endpoint: url.origin().ascii_serialization(),
        is_loopback: is_loopback(url.as_str()),
        timeout,
        ignored,
    }))
}

/// The attributes of `OTEL_RESOURCE_ATTRIBUTES` (`key=value,...`). Their values are percent-encoded,
/// which the SDK does not undo.
pub(super) fn attributes(text: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| {
        let value = percent_decode_str(value.trim()).decode_utf8_lossy();
        (key.trim().to_owned(), value.into_owned())
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Configured>, String> {
        configured(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn traces_are_off_without_a_collector_and_where_they_are_turned_off() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[
                ("OTEL_SERVICE_NAME", "etl"),
                ("OTEL_TRACES_EXPORTER", "otlp"),
            ],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "True")],
            &[ENDPOINT, ("OTEL_TRACES_SAMPLER", "always_off")],
        ] {
            assert_eq!(of(variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn what_is_for_traces_goes_before_what_is_for_all_signals() {
        let own = [
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "https://t:1/key?token=x",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
        ];
        let expected = Configured {
            endpoint: "https://t:1".to_owned(),
            is_loopback: false,
            timeout: Duration::from_millis(2500),
            ignored: Vec::new(),
        };
        assert_eq!(of(&own), Ok(Some(expected)));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ] {
            let problem = of(&[ENDPOINT, (variable, value)]);
            assert!(
                problem.as_ref().is_err_and(|text| text.contains(variable)),
                "{problem:?}"
            );
        }
        assert!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")]).is_err());
        for (url, is_loopback) in [
            ("http://127.0.0.1:4318", true),
            ("http://[::1]:4318", true),
            ("http://localhost:4318", true),
            ("http://10.0.0.1:4318", false),
        ] {
            let found = of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]);
            let found = found.map(|found| found.map(|found| found.is_loopback));
            assert_eq!(found, Ok(Some(is_loopback)), "{url}");
        }
    }

    #[test]
    fn what_has_no_effect_is_named_with_what_happens_instead() {
        for (variable, value, effect) in [
            ("OTEL_TRACES_SAMPLER", "traceidratio", "all spans are sent"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "uncompressed"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
                "gzip",
                "uncompressed",
            ),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem", "trusts"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
                "/own.pem",
                "no certificate",
            ),
            (
                "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                "/own.key",
                "no certificate",
            ),
        ] {
            let found = of(&[ENDPOINT, (variable, value)]).unwrap().unwrap();
            let [sentence] = &found.ignored[..] else {
                panic!("{variable}: {found:?}")
            };
            assert!(
                sentence.starts_with(variable) && sentence.contains(effect),
                "{sentence}"
            );
        }
        for (variable, value) in [
            ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", ""),
        ] {
            let found = of(&[ENDPOINT, (variable, value)]).unwrap().unwrap();
            assert_eq!(found.ignored, Vec::<String>::new(), "{variable}");
        }
    }

    #[test]
    fn the_values_of_attributes_are_percent_encoded() {
        let found: Vec<_> = attributes("team=data%2C%20etl, zone = a=b ,none,share=50%").collect();
        let expected = [("team", "data, etl"), ("zone", "a=b"), ("share", "50%")];
        assert_eq!(
            found,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }
}
