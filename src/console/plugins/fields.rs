//! Fields of a row in the words and the environment of a program.

use serde_json::Value;

/// Prefix of the variables with the row's fields.
const PREFIX: &str = "DAGSTER_TASKIQ_ROW_";

/// Maximum size of a variable, in bytes: Linux refuses one of 128 KiB. Larger ones are left out.
const MAX_VARIABLE: usize = 16 * 1024;

/// Replaces `{field}` in the words of a program, of a nested field `{outer.inner}`; `{{` stands for
/// a brace, and so does one before anything but a name.
///
/// # Errors
/// The row has no such field, or its value would be taken for an option; one sentence.
pub(super) fn fill(words: &[String], row: &Value) -> Result<Vec<String>, String> {
    let mut filled = Vec::with_capacity(words.len());
    let mut takes_options = true;
    for word in words {
        let text = fill_word(word, row)?;
        // What others have named must not become an option.
        if takes_options && text.starts_with('-') && !word.starts_with('-') {
            return Err(format!(
                "`{word}` is `{text}` here, which the program would take for an option; put `--` before it"
            ));
        }
        takes_options &= word != "--";
        filled.push(text);
    }
    Ok(filled)
}

fn fill_word(word: &str, row: &Value) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('{') {
            text.push('{');
            rest = after;
            continue;
        }
        let named = after.split_once('}');
        let named = named.filter(|(name, _)| !name.is_empty() && name.chars().all(is_name));
        if let Some((name, after)) = named {
            text.push_str(&value(row, name)?);
            rest = after;
        } else {
            text.push('{');
            rest = after;
        }
    }
    text.push_str(rest);
    Ok(text)
}

/// The value of a field as text.
fn value(row: &Value, name: &str) -> Result<String, String> {
    let mut parts = name.split('.');
    let found = parts.try_fold(row, |value, part| value.get(part));
    match found.and_then(as_text) {
        Some(text) => Ok(text),
        None if row.is_null() => Err(String::from("nothing is under the cursor")),
        None if found.is_some() => Err(format!("`{name}` of this row is not known")),
        None => {
            let known = row.as_object().into_iter().flat_map(|fields| fields.keys());
            let known: Vec<&str> = known.map(String::as_str).collect();
            let known = known.join(", ");
            Err(format!("this row has no `{name}`; it has {known}"))
        }
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

/// Variables with the row's known fields, for a program that reads its environment.
pub(super) fn variables(row: &Value) -> Vec<(String, String)> {
    let fields = row.as_object().into_iter().flatten();
    let variables = fields.filter_map(|(name, value)| {
        let text = as_text(value)?;
        // A variable cannot contain NUL.
        let fits = text.len() <= MAX_VARIABLE && !text.contains('\0');
        fits.then(|| (format!("{PREFIX}{}", name.to_ascii_uppercase()), text))
    });
    variables.collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(words: &[&str], row: &Value) -> Result<Vec<String>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        fill(&words, row)
    }

    #[test]
    fn fields_are_filled_in_and_stay_one_word_whatever_they_contain() {
        let row = json!({
            "job": "etl; rm -rf / `x` $(y)",
            "n": 3,
            "tags": [["team", "data"]],
            "phase": {"since": "now"},
        });
        let words = ["p", "{job} failed", "--n={n}", "{phase.since}", "{tags}"];
        let expected = [
            "p",
            "etl; rm -rf / `x` $(y) failed",
            "--n=3",
            "now",
            r#"[["team","data"]]"#,
        ];
        assert_eq!(
            filled(&words, &row),
            Ok(expected.map(str::to_owned).to_vec())
        );
        let braces = ["{\"run\": \"{n}\"}", "{{n}", "{", "{}", "{a b}"];
        let expected = ["{\"run\": \"3\"}", "{n}", "{", "{}", "{a b}"];
        assert_eq!(
            filled(&braces, &row),
            Ok(expected.map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn what_a_row_has_not_is_refused() {
        let row = json!({"job": "etl", "step_key": null});
        let refused = |word: &str, row: &Value| filled(&[word], row).unwrap_err();
        assert_eq!(
            refused("{jbo}", &row),
            "this row has no `jbo`; it has job, step_key"
        );
        assert_eq!(
            refused("{step_key}", &row),
            "`step_key` of this row is not known"
        );
        assert_eq!(
            refused("{job}", &Value::Null),
            "nothing is under the cursor"
        );
        assert!(filled(&["p", "x"], &Value::Null).is_ok());
    }

    #[test]
    fn a_value_never_becomes_an_option() {
        let row = json!({"message": "--force"});
        let text = filled(&["p", "{message}"], &row).unwrap_err();
        assert!(text.contains("put `--` before it"), "{text}");
        for words in [["p", "--text={message}"], ["--", "{message}"]] {
            assert!(filled(&words, &row).is_ok(), "{words:?}");
        }
    }

    #[test]
    fn known_fields_are_variables_unless_they_are_too_large() {
        let row =
            json!({"run_id": "4f0c", "n": 1, "none": null, "body": "x".repeat(20_000), "z": "\0"});
        let variables = variables(&row);
        let names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["DAGSTER_TASKIQ_ROW_N", "DAGSTER_TASKIQ_ROW_RUN_ID"]);
    }
}
