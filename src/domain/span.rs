//! Spans of time and moments, as they are typed.

use jiff::{SignedDuration, Timestamp};

/// Reads a span of time: `90` or `90s`, `30m`, `8h`, `2d`, `1h30m`.
///
/// # Errors
/// One sentence.
pub fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let text = text.trim();
    let seconds = match text.parse::<u32>() {
        Ok(seconds) => Some(i64::from(seconds)),
        Err(_) => seconds_of(text),
    };
    let span = seconds.map(SignedDuration::from_secs);
    // Words, too: `8 hours`.
    let span = span.or_else(|| text.parse().ok());
    span.filter(|span| !span.is_negative()).ok_or_else(|| {
        format!("`{text}` is not a span of time: give seconds, or one such as 90s, 30m, 8h or 2d")
    })
}

/// The sum of numbers with a unit each.
fn seconds_of(text: &str) -> Option<i64> {
    let (mut all, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = match rest.as_bytes()[end] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            _ => return None,
        };
        let number: i64 = rest[..end].parse().ok()?;
        all = all.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[end + 1..];
    }
    (!text.is_empty()).then_some(all)
}

/// As [`parse_duration`], in whole seconds.
///
/// # Errors
/// One sentence.
pub fn parse_seconds(text: &str) -> Result<u64, String> {
    parse_duration(text).map(|span| span.as_secs().unsigned_abs())
}

/// Reads a moment: `2026-03-14T08:00Z`.
///
/// # Errors
/// One sentence.
pub fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let moment = text.trim().parse();
    moment.map_err(|_| {
        format!("`{text}` is not a time: give a date, a time and its zone, as in 2026-03-14T08:00Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_seconds_or_numbers_with_units() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("90s", 90),
            ("30m", 1_800),
            ("8h", 28_800),
            ("2d", 172_800),
            ("1h30m", 5_400),
            ("8 hours", 28_800),
        ] {
            assert_eq!(parse_seconds(text), Ok(seconds), "{text}");
        }
        for text in [
            "",
            "h",
            "1x",
            "-1",
            "-1h",
            "1h30",
            "2ä",
            "99999999999999999999",
            "99999999999999999d",
        ] {
            let problem = parse_duration(text).err().unwrap_or_default();
            assert!(problem.contains("30m, 8h or 2d"), "{text}: {problem}");
        }
    }

    #[test]
    fn a_moment_has_its_zone() {
        assert!(parse_moment("2026-03-14T08:00Z").is_ok());
        for text in ["", "yesterday", "2026-03-14", "2026-03-14T08:00"] {
            let problem = parse_moment(text).err().unwrap_or_default();
            assert!(
                problem.contains("as in 2026-03-14T08:00Z"),
                "{text}: {problem}"
            );
        }
    }
}
