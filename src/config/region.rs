//! The region a queue URL names.

use url::Url;

/// The region in `https://sqs.<region>.amazonaws.com/…` or the older `https://<region>.queue.…`.
#[must_use]
pub fn region_of_queue_url(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let mut labels = url.host_str()?.split('.');
    match (labels.next()?, labels.next()?, labels.next()?) {
        ("sqs" | "sqs-fips", region, "amazonaws") | (region, "queue", "amazonaws") => {
            Some(region.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_aws_urls_only() {
        let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/tasks";
        assert_eq!(region_of_queue_url(url).as_deref(), Some("eu-central-1"));
        let old = "https://us-west-2.queue.amazonaws.com/123456789012/tasks";
        assert_eq!(region_of_queue_url(old).as_deref(), Some("us-west-2"));
        assert_eq!(
            region_of_queue_url("http://127.0.0.1:9324/000000000000/tasks"),
            None
        );
        assert_eq!(region_of_queue_url("nonsense"), None);
    }
}
