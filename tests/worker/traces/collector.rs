//! A collector of OpenTelemetry in the test: it takes spans over OTLP/HTTP and keeps them, or takes
//! requests and never answers.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The span itself.
    pub span: Span,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// The attributes of the process that sent it.
    pub resource: BTreeMap<String, String>,
    /// The headers of the request, names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Arrived {
    /// An attribute; empty if it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// A collector. Its threads end with the test's process.
pub struct Collector {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Collector {
    /// Starts one that answers.
    pub fn start() -> Self {
        Self::listen(true)
    }

    /// Starts one that never answers.
    pub fn silent() -> Self {
        Self::listen(false)
    }

    fn listen(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = Self {
            address: listener.local_addr().unwrap(),
            arrived: Arc::default(),
            held: Arc::default(),
        };
        let (arrived, held) = (Arc::clone(&collector.arrived), Arc::clone(&collector.held));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if answers {
                    let arrived = Arc::clone(&arrived);
                    std::thread::spawn(move || serve(stream, &arrived));
                } else {
                    held.lock().unwrap().push(stream);
                }
            }
        });
        collector
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of connections that wait for an answer.
    pub fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    /// The spans of a run so far.
    pub fn spans_of(&self, run: &str) -> Vec<Arrived> {
        let arrived = self.arrived.lock().unwrap();
        let spans = arrived
            .iter()
            .filter(|one| one.get("dagster.run.id") == run);
        spans.cloned().collect()
    }
}

/// Answers the requests of a connection until it is closed.
fn serve(stream: TcpStream, arrived: &Mutex<Vec<Arrived>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        assert!(line.starts_with("POST /v1/traces "), "{line}");
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let request = ExportTraceServiceRequest::decode(&*body).unwrap();
        let mut spans = Vec::new();
        for sent in request.resource_spans {
            let resource = texts(&sent.resource.unwrap_or_default().attributes);
            for span in sent.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Arrived {
                    attributes: texts(&span.attributes),
                    resource: resource.clone(),
                    headers: headers.clone(),
                    span,
                });
            }
        }
        arrived.lock().unwrap().append(&mut spans);
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |one: &KeyValue| {
        let value = match one.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        Some((one.key.clone(), value))
    };
    attributes.iter().filter_map(text).collect()
}
