//! Secrets recognised by the form of the text around them.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::REDACTED;

/// A name that marks its value as a secret.
const NAME: &str = r"[\w.-]*(?:passw|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|account[_-]?key|credential)[\w.-]*";

/// A cheap check for anything that a rule could match.
const SUSPECT: &str = r"(?i)://[^\s]*@|://[^\s:/]+:[^\s/]*[a-z%][^\s/]*$|passw|pwd|passphrase|secret|token|(?:api|access|private|account)[ _-]?key|credential|authorization|bearer|cookie|signature=|[?&](?:sig|key|auth|code|pass|pw)=|eyJ|gh[pousr]_|github_pat_|xox[abeoprs]-|sk-";

/// Builds the replacement of a match, with the secret hidden.
type Replace = fn(&Captures<'_>) -> String;

/// Compiles a pattern. A broken constant pattern hides everything, which the tests of this module
/// would show.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

static SUSPECTS: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(SUSPECT));
static KEY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(&format!(
        "(?i)^(?:{NAME}|(?:proxy-)?authorization|(?:set-)?cookie)$"
    ))
});

static RULES: LazyLock<Vec<Option<(Regex, Replace)>>> = LazyLock::new(|| {
    let rules: [(String, Replace); 10] = [
        // A private key as a block of lines, in any quoting.
        (
            String::from(r"(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END|$)"),
            |found| format!("{}{REDACTED}-----END", &found[1]),
        ),
        // `scheme://user:password@host`
        (
            String::from(r#"(?i)\b([a-z][a-z0-9+.-]*)://([^\s"'<>`\\]*)@"#),
            |found| format!("{}://{}@", &found[1], userinfo(&found[1], &found[2])),
        ),
        // A secret in a URL's query, under a name that alone does not mark one.
        (
            String::from(
                r#"(?i)((?:\bsignature|[?&](?:sig|key|auth|code|pass|pw))=)[^\s&"'<>\\]+"#,
            ),
            |found| format!("{}{REDACTED}", &found[1]),
        ),
        // `Authorization: Bearer …`, `Cookie: …`
        (
            String::from(
                r#"(?i)(\b(?:proxy-)?(?:authorization|(?:set-)?cookie)\\*["']?\s*[:=,]\s*[brf]?\\*["']?)[^"'\\\r\n]+"#,
            ),
            |found| format!("{}{REDACTED}", &found[1]),
        ),
        (
            String::from(r"(?i)\b(bearer\s+)[\w.~+/%-]*\d[\w.~+/%-]*=*"),
            |found| format!("{}{REDACTED}", &found[1]),
        ),
        // A YAML block scalar.
        (
            format!(
                r#"(?im)^([ \t]*(?:-[ \t]+)?["']?{NAME}["']?[ \t]*:)[ \t]*[|>][^\n]*\n(?:[ \t]+[^\n]*(?:\n|$))+"#
            ),
            |found| format!("{} {REDACTED}\n", &found[1]),
        ),
        // The rest of a YAML line, unless it is one quoted value, which the next rule takes.
        (
            format!(r#"(?im)^([ \t]*(?:-[ \t]+)?["']?({NAME})["']?[ \t]*:[ \t]+)(\S[^\n]*)$"#),
            |found| {
                if is_no_secret(&found[2]) || found[3].starts_with(['"', '\'', '{', '[']) {
                    return found[0].to_owned();
                }
                format!("{}{REDACTED}", &found[1])
            },
        ),
        // `name: value`, `name=value`, `"name": "value"`, `('name', 'value')`, `--name value`.
        (
            format!(
                r#"(?ix)( --{NAME}["']?,?\s+ | <{NAME}> | ({NAME})(\\*["'])?(?:\s*(?:=>|:=|[:=])\s*|\s*,\s*) )
                ( [brfu]{{0,2}}"(?:[^"\\]|\\.)*(?:"|$) | \\"(?:[^"\\]|\\\\(?:\\.)?|\\[^"\\])*(?:\\?"|$)
                | \\{{2,}}"(?:[^"\\]|\\+[^"\\])*(?:\\*"|$) | [brfu]{{0,2}}'(?:[^'\\]|\\.)*(?:'|$)
                | \[[^\]]*\]? | \{{[^}}]*\}}? | [^\s,;&{{}}\[<>"'\\]+(?:"[^"]*"|'[^']*')? )"#
            ),
            named_value,
        ),
        // Tokens that are recognised by their own form.
        (
            String::from(
                r"\b(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|xox[abeoprs]-[\w-]{10,}|sk-[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?)",
            ),
            |_| REDACTED.to_owned(),
        ),
        // A URL that was cut off in its password.
        (
            String::from(
                r#"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@\[\]"'<>]+:)[\w%!$*+~.-]*[a-z%!$*+~-][\w%!$*+~.-]*(…|\.\.\.)?$"#,
            ),
            |found| format!("{}{REDACTED}", &found[1]),
        ),
    ];
    rules
        .into_iter()
        .map(|(text, replace)| Some((pattern(&text)?, replace)))
        .collect()
});

/// Whether a text may contain a secret at all.
pub(super) fn is_suspect(text: &str) -> bool {
    SUSPECTS.as_ref().is_none_or(|any| any.is_match(text))
}

/// The text without anything that looks like a secret.
pub(super) fn hide(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    if !is_suspect(&text) {
        return text;
    }
    for rule in RULES.iter() {
        let Some((pattern, replace)) = rule else {
            return Cow::Borrowed(REDACTED);
        };
        let hidden = match pattern.replace_all(&text, *replace) {
            Cow::Owned(hidden) if hidden != *text => hidden,
            _ => continue,
        };
        text = Cow::Owned(hidden);
    }
    text
}

/// Whether the value of this name (a key, a variable, a header) is a secret.
#[must_use]
pub fn names_a_secret(name: &str) -> bool {
    KEY.as_ref().is_none_or(|pattern| pattern.is_match(name)) && !is_no_secret(name)
}

/// The password in a URL.
pub(super) fn password_of_url(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let (userinfo, _) = rest.rsplit_once('@')?;
    let (user, password) = userinfo.split_once(':')?;
    (!user.contains('/')).then_some(password)
}

/// Whether a name is not a secret: names of AWS errors, which are followed by a description, and
/// names of files with secrets.
fn is_no_secret(name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or(name);
    let ends = [
        "exception",
        "error",
        "tokenid",
        "secretid",
        "_file",
        "-file",
        "_path",
        "-path",
    ];
    let lower = name.to_ascii_lowercase();
    ends.iter().any(|end| lower.ends_with(end))
        || matches!(
            name,
            "ExpiredToken" | "InvalidToken" | "MissingAuthenticationToken" | "InvalidAccessKeyId"
        )
}

/// The part between `scheme://` and the last `@` of a word, without its secrets.
fn userinfo(scheme: &str, text: &str) -> String {
    let authority = text.find(['/', '?', '#']).unwrap_or(text.len());
    let user_end = text.find(':').unwrap_or(text.len());
    if user_end > authority {
        // The authority ended earlier: this `@` belongs to a path, or to another URL.
        return nested(text);
    }
    if user_end == text.len() {
        // Only a user name; with HTTP that is a token.
        let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        return String::from(if is_http && !text.is_empty() {
            REDACTED
        } else {
            text
        });
    }
    let password = &text[user_end + 1..];
    let port = password.find(|c: char| !c.is_ascii_digit());
    if let Some(port) = port.filter(|at| *at > 0 && password[*at..].starts_with(['/', '?', '#'])) {
        let (host, rest) = text.split_at(user_end + 1 + port);
        return format!("{host}{}", nested(rest));
    }
    format!("{}:{REDACTED}", &text[..user_end])
}

/// A path that ends in `@`, in which there may be another URL.
fn nested(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let start = before
        .rfind(|c: char| !c.is_ascii_alphanumeric() && !"+.-".contains(c))
        .map_or(0, |at| at + 1);
    format!("{before}://{}", userinfo(&before[start..], rest))
}

/// The value after a name that marks it as a secret; its quotes stay.
fn named_value(found: &Captures<'_>) -> String {
    let (head, value) = (&found[1], &found[4]);
    if found.get(2).is_some_and(|name| is_no_secret(name.as_str())) {
        return found[0].to_owned();
    }
    // A flag that is mentioned in a sentence is followed by a word.
    let is_prose = head.starts_with("--")
        && (value.chars().all(|c| c.is_ascii_lowercase()) || is_no_secret(head.trim_end()));
    if is_prose || value.starts_with(REDACTED) {
        return found[0].to_owned();
    }
    let quote = found.get(3).map(|quote| quote.as_str());
    // `name, value` is a pair only where both are quoted.
    let is_pair = head.trim_end().ends_with(',') && !head.starts_with("--");
    let is_quoted = value.ends_with(['"', '\'']);
    if is_pair && !(quote.is_some() && is_quoted) {
        return found[0].to_owned();
    }
    if value.starts_with('{') && value.contains("env") && value.len() > 2 {
        // The name of a variable, as in dagster.yaml.
        return found[0].to_owned();
    }
    let is_prefix = |c: char| c == '\\' || c.is_ascii_alphabetic();
    let open = value
        .find(['"', '\''])
        .filter(|at| is_quoted && value[..*at].chars().all(is_prefix));
    let Some(open) = open else {
        let quote = quote
            .filter(|quote| quote.ends_with('"'))
            .unwrap_or_default();
        return format!("{head}{quote}{REDACTED}{quote}");
    };
    let inner = value.trim_end_matches(['"', '\'']).trim_end_matches('\\');
    let close = if inner.len() > open {
        &value[inner.len()..]
    } else {
        &value[open..=open]
    };
    format!("{head}{}{REDACTED}{close}", &value[..=open])
}
