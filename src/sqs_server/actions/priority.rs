//! The priority label of a Taskiq message, read from its body when it is sent.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

/// The priority of a message without a priority label.
const DEFAULT: i32 = 5;

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    labels: Labels,
}

#[derive(Default)]
struct Labels {
    priority: Option<i32>,
}

/// The integer in `labels.priority` of a JSON body, as a number or a string; 5 without one.
pub fn of_body(body: &str) -> i32 {
    if !body.trim_start().starts_with('{') || !body.contains("\"priority\"") {
        return DEFAULT;
    }
    serde_json::from_str(body)
        .ok()
        .and_then(|body: Body| body.labels.priority)
        .unwrap_or(DEFAULT)
}

/// Reads the one label of interest and skips the others without keeping them.
impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Labels::default();
                while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    if name == "priority" {
                        let value: serde_json::Value = map.next_value()?;
                        labels.priority = integer(&value);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(labels)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

fn integer(value: &serde_json::Value) -> Option<i32> {
    match value {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        number => number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::of_body;

    #[test]
    fn the_label_counts_as_a_string_and_as_a_number() {
        assert_eq!(
            of_body(r#"{"task_id":"a","labels":{"x":[1],"priority":"12"}}"#),
            12
        );
        assert_eq!(of_body(r#"{"labels":{"priority":-3,"retry":true}}"#), -3);
    }

    #[test]
    fn anything_else_has_the_default_priority() {
        for body in [
            "",
            "hello",
            "{",
            "[\"priority\"]",
            "{\"priority\":9}",
            "{\"labels\":null,\"priority\":1}",
            "{\"labels\":{\"priority\":\"high\"}}",
            "{\"labels\":{\"priority\":1.5}}",
        ] {
            assert_eq!(of_body(body), 5, "{body}");
        }
    }
}
