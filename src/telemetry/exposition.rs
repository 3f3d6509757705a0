//! Output of the metrics of all this program's processes: Prometheus's text format 0.0.4, which all
//! collectors read.

use std::fmt;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

/// The `Content-Type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Renders the metrics of a registry as text.
///
/// # Errors
/// Never in practice, because it writes to a string.
pub fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    prometheus_text::encode(&mut text, registry)?;
    Ok(text)
}
