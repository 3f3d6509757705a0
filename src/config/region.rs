//! The region a queue URL names, and whether an endpoint is this machine.

use std::net::IpAddr;

/// The region in `https://sqs.<region>.amazonaws.com/…` or the older `https://<region>.queue.…`.
#[must_use]
pub fn region_of_queue_url(url: &str) -> Option<&str> {
    let host = host_of(url)?;
    let mut labels = host.split('.');
    match (labels.next()?, labels.next()?, labels.next()?) {
        ("sqs" | "sqs-fips", region, "amazonaws") | (region, "queue", "amazonaws") => Some(region),
        _ => None,
    }
}

/// Whether a URL's host is this machine's loopback.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    host_of(url).is_some_and(|host| {
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// The host of a URL, without port, user or brackets.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if let Some(bracketed) = host_port.strip_prefix('[') {
        return bracketed.split_once(']').map(|(host, _)| host);
    }
    host_port.split(':').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_aws_urls_only() {
        let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/tasks";
        assert_eq!(region_of_queue_url(url), Some("eu-central-1"));
        let old = "https://us-west-2.queue.amazonaws.com/123456789012/tasks";
        assert_eq!(region_of_queue_url(old), Some("us-west-2"));
        assert_eq!(
            region_of_queue_url("http://127.0.0.1:9324/000000000000/tasks"),
            None
        );
        assert_eq!(region_of_queue_url("nonsense"), None);
    }

    #[test]
    fn loopback_is_recognised_by_name_and_by_both_address_families() {
        assert!(is_loopback("http://localhost:9324"));
        assert!(is_loopback("http://127.0.0.1:1/x"));
        assert!(is_loopback("http://[::1]:9324"));
        assert!(!is_loopback("https://sqs.us-east-1.amazonaws.com/1/q"));
        assert!(!is_loopback("http://10.0.0.1:9324"));
    }
}
