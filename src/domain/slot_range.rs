//! Bounds of the number of step slots, and changes of the number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Description of a valid range.
const EXPECTED: &str = "give a number (8), or the smallest and the largest number (2..16)";

/// The smallest and the largest number of step slots. They are equal if the number is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRange {
    /// Slots of an idle worker.
    pub min: u32,
    /// Slots that a worker has at most.
    pub max: u32,
}

impl SlotRange {
    /// A number that does not change.
    #[must_use]
    pub fn fixed(slots: u32) -> Self {
        Self {
            min: slots,
            max: slots,
        }
    }

    /// Whether the number does not change.
    #[must_use]
    pub fn is_fixed(self) -> bool {
        self.min == self.max
    }

    /// The nearest number within the bounds.
    #[must_use]
    pub fn clamp(self, slots: u32) -> u32 {
        slots.min(self.max).max(self.min)
    }

    /// Reads `8` or `2..16`, whatever the numbers; `None` for another form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let (min, max) = (min.parse().ok()?, max.parse().ok()?);
        Some(Self { min, max })
    }

    /// Checks the numbers. A worker without slots would not see that it has too few.
    ///
    /// # Errors
    /// What is wrong, and what to give.
    pub fn check(self) -> Result<(), &'static str> {
        if self.min > self.max {
            return Err("the smallest number of slots comes first: 2..16");
        }
        if self.min == 0 && !self.is_fixed() {
            return Err("a range of slots begins at 1 or more: 1..16");
        }
        Ok(())
    }
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_fixed() {
            return self.min.fmt(f);
        }
        write!(f, "{}..{}", self.min, self.max)
    }
}

impl FromStr for SlotRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range = Self::parse(text).ok_or(EXPECTED)?;
        range.check()?;
        Ok(range)
    }
}

/// A new number of step slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotChange {
    /// This number, or these bounds.
    To(SlotRange),
    /// So many more than at present, or fewer if negative.
    By(i32),
}

impl FromStr for SlotChange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(['+', '-']) {
            let by = text.parse().map(Self::By);
            return by.map_err(|_| "give how many slots more (+2), or fewer (-2)");
        }
        text.parse().map(Self::To)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_fixed_and_two_numbers_are_bounds() {
        for (text, min, max, shown) in [
            ("8", 8, 8, "8"),
            ("0", 0, 0, "0"),
            ("2..16", 2, 16, "2..16"),
            ("4..4", 4, 4, "4"),
        ] {
            let range = text.parse::<SlotRange>();
            assert_eq!(range, Ok(SlotRange { min, max }));
            assert_eq!(range.map(|range| range.to_string()), Ok(shown.to_owned()));
        }
        for text in [
            "", "many", "-1", "2..", "..4", "2...4", "2-4", "16..2", "0..4",
        ] {
            assert!(text.parse::<SlotRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_sign_makes_a_change_of_the_present_number() {
        let to = |slots| Ok(SlotChange::To(SlotRange::fixed(slots)));
        for (text, change) in [
            ("+2", Ok(SlotChange::By(2))),
            ("-1", Ok(SlotChange::By(-1))),
            ("2", to(2)),
        ] {
            assert_eq!(text.parse(), change);
        }
        for text in ["", "+", "+-2", "-2..4", "+many"] {
            assert!(text.parse::<SlotChange>().is_err(), "{text}");
        }
    }
}
