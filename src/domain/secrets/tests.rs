#![expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use proptest::prelude::*;

use super::*;

/// Forms of a secret in a text: `@` is its place.
const FORMS: [&str; 48] = [
    "postgresql://dagster:@@db:5432/x",
    "postgresql+psycopg2://dagster:@@db/x?sslmode=require",
    "(psycopg2.OperationalError) postgresql://u:@@h/db refused",
    "https://u:@@sqs.example.org:9324/000000000000/tasks",
    "https://@@github.com/a/b.git",
    "http://127.0.0.1:9324/q,amqp://u:@@h",
    "password=@",
    "password = @",
    "PGPASSWORD=@ psql",
    "export AWS_SECRET_ACCESS_KEY=@",
    "aws_session_token: @",
    "host=db user=u password='@' port=5432",
    "password: @",
    "  - db_password: @, with words @",
    "password: |-\n  @\n  @\nuser: x",
    "db:\n  password: >\n    @",
    "{\"password\": \"@\", broken",
    "{'password': '@'}",
    "{'password': b'@'}",
    "{\"a\": \"{\\\"password\\\": \\\"@\\\"}\"",
    "{\\\\\\\"password\\\\\\\": \\\\\\\"@\\\\\\\"}",
    "\"tokens\": [\"@\", \"@\"]",
    "{'token': {'value': '@'}}",
    "('password', '@')",
    "[\"--secret-key\", \"@\"]",
    "broker serve --secret-key @ --listen x",
    "broker serve --secret-key=@",
    "SecretStr(password=SecretStr('@'))",
    "https://s3.example.org/b/k?X-Amz-Signature=@&X-Amz-Date=1",
    "https://s3.example.org/b/k?X-Amz-Security-Token=@&a=b",
    "https://x.example.org/?sig=@",
    "https://x.example.org/?a=b&api-key=@#c",
    "Authorization: Bearer @",
    "authorization: Basic @",
    "{\"authorization\": \"AWS4-HMAC-SHA256 Credential=x, Signature=@\"}",
    "\"Authorization\": \"Bearer @\"",
    "Cookie: session=@; a=b",
    "{\"Cookie\": \"session=@\"}",
    "AWS4-HMAC-SHA256 Credential=x/y, SignedHeaders=host, Signature=@",
    "x-api-key: @",
    "the server said: bearer @",
    "<password>@</password>",
    "<SecretAccessKey>@</SecretAccessKey>",
    "{password: @}",
    "api_key=@&user=x",
    "secret => @",
    "AccountKey=@;EndpointSuffix=core.windows.net",
    "-----BEGIN RSA PRIVATE KEY-----\n@\n@\n-----END RSA PRIVATE KEY-----",
];

/// Texts without a secret, which must be shown unchanged.
const ORDINARY: [&str; 28] = [
    "nothing to hide: 5",
    "worker w-1 ready: 4 step slots, queues http://127.0.0.1:9324/000000000000/dagster-tasks",
    "https://sqs.eu-west-1.amazonaws.com/123456789012/dagster-tasks",
    "SQS at http://127.0.0.1:9324 does not answer (Connection refused); check that it runs",
    "cannot listen on http://[::1]:9324",
    "cannot reach http://localhost:3000: connection refused",
    "s3://bucket/key of ann@bastion",
    "{\"address\":\"http://127.0.0.1:9324\",\"from\":\"ann@bastion\"}",
    "http://127.0.0.1:9324/x?to=ann@bastion",
    "postgresql://dagster@db/x",
    "SignatureDoesNotMatch: the request signature we calculated does not match",
    "ExpiredToken: the security token included in the request is expired",
    "InvalidClientTokenId: The security token included in the request is invalid.",
    "run 4f0c81aa-1111-2222-3333-444455556666 of nightly_etl failed at 12:30:01",
    "no password is asked here",
    "password authentication failed for user \"dagster\"",
    "dagster.yaml names {env: PGPASSWORD}",
    "the bearer of bad news",
    "token {env: TOKEN}",
    "the executor says: ok, tokens and secrets are hidden",
    "the primary key: id; foreign key=2",
    "a = 1, b: 2",
    "warning: the secret in --secret-key until now: set it or --secret-key-file instead",
    "error: unexpected argument '--secret-key' found",
    "broker serve --secret-key-file /run/Secrets/1",
    "AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/Token1",
    "File \"/srv/code/jobs.py\", line 3, in <module>",
    "ValueError: invalid literal for int() with base 10: 'x'",
];

#[test]
fn ordinary_text_stays_as_it_is() {
    for text in ORDINARY {
        assert_eq!(redact_text(text), text);
        assert_eq!(redact(text), text);
    }
}

#[test]
fn names_of_variables_and_the_rest_of_the_text_are_kept() {
    for (text, shown) in [
        ("postgresql://u:x@db/x", "postgresql://u:(redacted)@db/x"),
        ("a password=x, b", "a password=(redacted), b"),
        ("{\"password\": \"x\"}", "{\"password\": \"(redacted)\"}"),
        (
            "{\"pin_password\": 12}",
            "{\"pin_password\": \"(redacted)\"}",
        ),
        ("password: {env: PGPASSWORD}", "password: {env: PGPASSWORD}"),
        (
            "http://h/?a=1&token=x&b=2",
            "http://h/?a=1&token=(redacted)&b=2",
        ),
        (
            "--secret-key x1 --listen y",
            "--secret-key (redacted) --listen y",
        ),
    ] {
        assert_eq!(redact_text(text), shown);
    }
}

#[test]
fn json_stays_json_and_what_is_pretty_stays_pretty() {
    let value = serde_json::json!({"a": {"token": ["x", 5]}, "text": "password=hunter2",
        "credentials": {"value": "hunter2", "env": "NAME"}});
    for text in [
        value.to_string(),
        serde_json::to_string_pretty(&value).unwrap(),
    ] {
        let shown = redact(&text);
        let read: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["a"]["token"], serde_json::json!([REDACTED, REDACTED]));
        assert_eq!(read["text"], "password=(redacted)");
        assert_eq!(read["credentials"]["value"], REDACTED);
        assert_eq!(read["credentials"]["env"], "NAME");
        assert_eq!(shown.lines().count(), text.lines().count());
    }
}

#[test]
fn json_within_json_is_redacted_once_and_stays_readable() {
    let body = serde_json::json!({"loader": {"secrets_loader": {"class": "A", "on": true}},
        "token": "x1"});
    let once = redact(&body.to_string()).into_owned();
    let answer = serde_json::json!({"body": once}).to_string();
    assert_eq!(redact(&answer), answer);
    let raw = serde_json::json!({"body": body.to_string()}).to_string();
    assert_eq!(redact(&raw), answer);
}

#[test]
fn a_url_cut_off_in_its_password_shows_none_of_it() {
    assert_eq!(
        redact_text("cannot connect to postgresql://u:hunt"),
        "cannot connect to postgresql://u:(redacted)"
    );
}

#[test]
fn a_secret_shows_nothing_of_itself() {
    let secret = Secret::from("hunter2".to_owned());
    assert_eq!(format!("{secret} {secret:?}"), "(redacted) (redacted)");
    assert_eq!(secret.reveal(), "hunter2");
}

/// Characters that may stand before and after a secret without being a part of it.
fn around() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z ]{0,12}\n",
        Just(String::from("{\"a\": 1}\n")),
        Just(String::from("Traceback (most recent call last):\n")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_marked_secret_survives_in_no_form(
        form in prop::sample::select(FORMS.to_vec()),
        secret in "[A-Za-z][A-Za-z0-9%+_-]{5,20}[0-9]",
        before in around(),
        after in around(),
    ) {
        let is_url = form.contains("@@");
        let marked = if is_url { form.replacen('@', &secret, 1) } else { form.replace('@', &secret) };
        let text = format!("{before}{marked}\n{after}");
        let shown = redact_text(&text);
        prop_assert!(!shown.contains(&secret), "{text:?} became {shown:?}");
        prop_assert_eq!(redact_text(&shown), shown.as_ref(), "once is enough");
        let quoted = serde_json::json!({"message": text, "n": 1}).to_string();
        let shown = redact(&quoted);
        prop_assert!(!shown.contains(&secret), "{quoted} became {shown}");
        prop_assert!(serde_json::from_str::<Value>(&shown).is_ok(), "{shown}");
    }

    #[test]
    fn words_without_names_of_secrets_stay_as_they_are(text in "[a-f0-9 :=,./{}\"'\n-]{0,80}") {
        prop_assert_eq!(redact_text(&text), text.as_str());
    }
}
