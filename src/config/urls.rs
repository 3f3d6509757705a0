//! URLs of settings: what makes one usable, for all of them in one place.

use serde_json::Value;
use url::{ParseError, Url};

use super::rows::Flaw;

/// Longest name of a queue that SQS takes.
const LONGEST_NAME: usize = 80;

/// Reads an `http://` or `https://` URL.
///
/// # Errors
/// The problem, as the rest of a sentence that names the setting. It does not quote the URL.
pub(super) fn http_url(text: &str) -> Result<Url, String> {
    // The parser takes these away, and whoever takes the text as it is does not.
    if text.trim() != text || text.contains(char::is_control) {
        return Err(String::from(
            "it has a space or a line end around it or in it",
        ));
    }
    let begins = || String::from("it does not begin with http:// or https://");
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::RelativeUrlWithoutBase => begins(),
        error => format!("it is not a URL: {error}"),
    })?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(begins()),
    }
}

/// Checks the URL of a webserver.
pub(super) fn check_http_url(value: &Value) -> Vec<Flaw> {
    let checked = value
        .as_str()
        .map_or(Ok(()), |text| http_url(text).map(drop));
    Flaw::whole(checked)
}

/// Checks an endpoint: paths are added to it.
pub(super) fn check_endpoint(value: &Value) -> Vec<Flaw> {
    let check = |text| {
        let url = http_url(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(String::from("an endpoint has no `?` and no `#`"));
        }
        Ok(())
    };
    Flaw::whole(value.as_str().map_or(Ok(()), check))
}

/// Checks the URL of a queue.
pub(super) fn check_queue_url(value: &Value) -> Vec<Flaw> {
    Flaw::whole(value.as_str().map_or(Ok(()), queue_url))
}

/// Checks the URLs of named queues.
pub(super) fn check_queues(value: &Value) -> Vec<Flaw> {
    let queues = value.as_object().into_iter().flatten();
    let check = |(name, url): (&String, &Value)| {
        let name = name.clone();
        let flaws = check_queue_url(url).into_iter();
        flaws.map(move |flaw| flaw.within(&name))
    };
    queues.flat_map(check).collect()
}

/// Queues differ in the last part of the path alone, which a worker adds to for those of bands.
fn queue_url(text: &str) -> Result<(), String> {
    const FULL: &str = "give the queue's full URL, as `aws sqs get-queue-url` prints it";
    let url = http_url(text).map_err(|problem| format!("{problem}; {FULL}"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("the URL of a queue has no `?` and no `#`; {FULL}"));
    }
    let name = text.rsplit('/').next().unwrap_or_default();
    let last = url.path_segments().and_then(|mut parts| parts.next_back());
    if last.is_none_or(str::is_empty) {
        return Err(format!("it ends without the name of a queue; {FULL}"));
    }
    if last != Some(name) || !is_queue_name(name) {
        return Err(format!(
            "its last part is not the name of a queue, which has 1 to {LONGEST_NAME} letters, \
             digits, `-` and `_`, and may end in .fifo; {FULL}"
        ));
    }
    Ok(())
}

fn is_queue_name(name: &str) -> bool {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    is_part_of_queue_name(stem) && name.len() <= LONGEST_NAME
}

/// Whether a queue's name may have this in it.
pub(super) fn is_part_of_queue_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_urls_of_all_brokers_are_taken() {
        let longest = format!("http://h/1/{}.fifo", "a".repeat(75));
        for url in [
            "https://sqs.eu-west-1.amazonaws.com/123456789012/dagster-tasks",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/dagster-tasks.fifo",
            "https://eu-west-1.queue.amazonaws.com/123456789012/a_B-9",
            "http://host:9324/000000000000/name",
            "http://[::1]:9324/000000000000/name",
            "HTTP://user:secret@host/q",
            "http://localhost:4566/queue/us-east-1/000000000000/name",
            "http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/name",
            &longest,
        ] {
            assert_eq!(queue_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_no_worker_could_start_with_is_no_queue_url() {
        let too_long = format!("http://h/1/{}", "a".repeat(81));
        for (url, expected) in [
            ("", "does not begin with http://"),
            ("dagster-tasks", "does not begin with http://"),
            ("localhost:9324/1/q", "does not begin with http://"),
            ("ftp://x/y", "does not begin with http://"),
            ("http://", "is not a URL: empty host"),
            ("http://h:99999/1/q", "is not a URL: invalid port number"),
            ("http://127.0.0.1:9324", "ends without the name"),
            ("http://tasks", "ends without the name"),
            ("http://h/000000000000/", "ends without the name"),
            ("http://h/1/q?x=1", "no `?`"),
            ("http://h/1/q#x", "no `?`"),
            ("http://h/1/a b", "not the name of a queue"),
            ("http://h/1/q.old", "not the name of a queue"),
            ("http://h/1/.fifo", "not the name of a queue"),
            ("http://h/1\\q", "not the name of a queue"),
            ("http://h/1/q\n", "a line end"),
            ("http://h/1\t/q", "a line end"),
            (&too_long, "not the name of a queue"),
        ] {
            let problem = queue_url(url).err().unwrap_or_default();
            assert!(problem.contains(expected), "{url}: {problem}");
            assert!(problem.contains("full URL"), "{problem}");
        }
    }
}
