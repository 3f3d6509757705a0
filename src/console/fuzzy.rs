//! Fuzzy matching for the palette and the job picker: the letters of the query in order.

/// Score of `text` for `query` (higher is better); `None` without a match. Consecutive letters and
/// beginnings of words count more, so `fan` prefers `fan_out` to `refine_all_names`.
#[must_use]
pub fn score(query: &str, text: &str) -> Option<i32> {
    let remaining: Vec<char> = query
        .chars()
        .flat_map(char::to_lowercase)
        .filter(|c| *c != ' ')
        .collect();
    let mut remaining = remaining.iter().peekable();
    let mut score = 0;
    let mut previous_matched = false;
    let mut previous = ' ';
    for c in text.chars().flat_map(char::to_lowercase) {
        let starts_word = !previous.is_alphanumeric();
        if remaining.next_if(|w| **w == c).is_some() {
            score += 1 + if previous_matched { 4 } else { 0 } + if starts_word { 3 } else { 0 };
            previous_matched = true;
        } else {
            previous_matched = false;
        }
        previous = c;
    }
    // A shorter text is the closer match among equals.
    let length = i32::try_from(text.len()).unwrap_or(i32::MAX);
    remaining
        .peek()
        .is_none()
        .then(|| score * 64 - length.min(63))
}

/// The indices of the texts that match, best first; all of them, in order, for an empty query.
pub fn rank<'a>(query: &str, texts: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut scored: Vec<(i32, usize)> = texts
        .enumerate()
        .filter_map(|(index, text)| Some((score(query, text)?, index)))
        .collect();
    if !query.is_empty() {
        scored.sort_by_key(|(score, index)| (-score, *index));
    }
    scored.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_comes_first_and_others_are_left_out() {
        let names = ["refine_all_names", "fan_out", "etl"];
        assert_eq!(rank("fan", names.into_iter()), [1, 0]);
        assert_eq!(rank("", names.into_iter()), [0, 1, 2]);
        assert_eq!(score("xyz", "fan_out"), None);
    }
}
