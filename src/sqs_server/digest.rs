//! MD5 sums in SQS answers, with which clients verify a message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use super::state::message::AttributeValue;

/// The sum of a body.
#[must_use]
pub fn of_body(body: &str) -> String {
    hex::encode(Md5::digest(body))
}

/// The sum of message attributes: for each, sorted by name, its name, type and value, each after
/// its length in four bytes, with one byte between type and value that marks text (1) or bytes (2).
#[must_use]
pub fn of_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a str, &'a AttributeValue)>,
) -> Option<String> {
    let mut sorted: Vec<_> = attributes.into_iter().collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_by_key(|(name, _)| *name);
    let mut sum = Md5::new();
    for (name, value) in sorted {
        update(&mut sum, name.as_bytes());
        update(
            &mut sum,
            value.data_type.as_deref().unwrap_or_default().as_bytes(),
        );
        match (&value.string_value, &value.binary_value) {
            (Some(text), _) => {
                sum.update([1]);
                update(&mut sum, text.as_bytes());
            }
            (None, bytes) => {
                sum.update([2]);
                let bytes = bytes.as_deref().and_then(|text| STANDARD.decode(text).ok());
                update(&mut sum, &bytes.unwrap_or_default());
            }
        }
    }
    Some(hex::encode(sum.finalize()))
}

fn update(sum: &mut Md5, bytes: &[u8]) {
    sum.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    sum.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_body_is_plain_md5() {
        assert_eq!(of_body("abc"), "900150983cd24fb0d6963f7d28e17f72");
    }

    #[test]
    fn no_attributes_have_no_sum() {
        assert_eq!(of_attributes([]), None);
    }
}
