//! Names that contain a `*`.

/// Whether a text matches a pattern, in which `*` stands for any characters.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.any(|at| fits(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, text, expected) in [
            ("q", "q", true),
            ("q", "qq", false),
            ("*", "", true),
            ("*", "any", true),
            ("a-*", "a-b", true),
            ("a-*", "a", false),
            ("*-dead", "a-dead", true),
            ("*-dead", "a-dead-b", false),
            ("a*b*c", "a1b2b3c", true),
            ("*.fifo", "a.fifo", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
