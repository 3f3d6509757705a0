"""Secrets in text: hidden in every form, and nothing else is."""

import io
import logging
import random
import re
import sys

import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from _dagster_taskiq_host import redaction
from _dagster_taskiq_host.redaction import (
    Redacting,
    _known,
    redact,
    redact_error,
    redact_exception,
)
from dagster_taskiq.errors import ConfigurationError, translate

SECRET = "s3cr3t-Value9"

FORMS = [
    "postgresql://dagster:{}@db:5432/x",
    "(psycopg2.OperationalError) postgresql+psycopg2://u:{}@h/db refused",
    "https://{}@github.com/a.git",
    "http://127.0.0.1:9324/q,amqp://u:{}@h",
    "password={}",
    "export AWS_SECRET_ACCESS_KEY={}",
    "host=db user=u password='{}' port=5432",
    "password: {}",
    "  - db_password: two words {}",
    '{{"password": "{}", broken',
    "{{'password': b'{}'}}",
    '{{"a": "{{\\"password\\": \\"{}\\"}}"',
    '"tokens": ["{0}", "{0}"]',
    "('password', '{}')",
    "broker serve --secret-key {} --listen x",
    "https://s3.example.org/b/k?X-Amz-Signature={}&X-Amz-Date=1",
    "https://s3.example.org/b/k?X-Amz-Security-Token={}&a=b",
    "https://s3.example.org/b?sv=1&sig={}&se=2",
    "Authorization: Bearer {}",
    "<SecretAccessKey>{}</SecretAccessKey>",
    "the server said: bearer {}",
]

ORDINARY = [
    "Sent the run to http://127.0.0.1:9324/000000000000/dagster-tasks.",
    "SQS at http://127.0.0.1:9324 does not answer (Connection refused); check that it runs",
    "http://127.0.0.1:9324/x?to=ann@bastion",
    "postgresql://dagster@db/x",
    "Could not send a step: AWS refused it (ExpiredToken: The security token is expired);",
    "InvalidClientTokenId: The security token included in the request is invalid.",
    "ValueError: invalid literal for int() with base 10: 'x'",
    "password: {env: PGPASSWORD}",
    "a = 1, b: 2",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_survives_in_no_form(form: str) -> None:
    text = f"before\n{form.format(SECRET)}\nafter"
    shown = redact(text)
    assert SECRET not in shown
    assert shown.startswith("before\n") and shown.endswith("after")
    assert redact(shown) == shown


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("seed", range(20))
def test_the_shortcut_for_ordinary_text_misses_nothing_that_a_rule_hides(seed: int) -> None:
    chance = random.Random(seed)
    parts = [
        part
        for form in (*FORMS, *ORDINARY)
        for part in re.findall(r"\w+|\W+", form.replace("{}", SECRET))
    ]
    for _ in range(300):
        begins = [chance.randrange(len(parts)) for _ in range(2)]
        text = "".join("".join(parts[at : at + chance.randint(1, 8)]) for at in begins)
        expected = text
        for pattern, replacement in redaction._RULES:
            expected = pattern.sub(replacement, expected)
        assert redact(text) == expected


def test_values_of_the_environment_are_hidden_wherever_they_stand() -> None:
    known = _known(
        {
            "PGPASSWORD": SECRET,
            "DATABASE_URL": "mysql://u:In/A-Url9@h/db",
            "AWS_SECRET_ACCESS_KEY": "test",
            "HOME": "/home/Somebody9",
        }
    )
    assert known is not None
    text = f"test {SECRET} In%2FA-Url9 /home/Somebody9"
    assert known.sub("#", text) == "test # # /home/Somebody9"
    assert _known({}) is None


def _raised() -> BaseException:
    try:
        try:
            raise ValueError(f"postgresql://u:{SECRET}@h/db")
        except ValueError as error:
            raise RuntimeError(f"token={SECRET}") from error
    except RuntimeError as error:
        return error


def test_exceptions_are_hidden_with_their_whole_chain() -> None:
    error = _raised()
    info = redact_error(
        serializable_error_info_from_exc_info((type(error), error, error.__traceback__))
    )
    assert SECRET not in info.to_string()
    assert "u:(redacted)@h" in info.to_string()
    redact_exception(error)
    assert SECRET not in f"{error} {error.__cause__}"
    translated = translate(_raised(), tried="use the queue", target=f"http://u:{SECRET}@h/1/q")
    assert SECRET not in str(translated)
    assert SECRET not in str(ConfigurationError(f"queue_url is 'http://u:{SECRET}@h'"))


def test_a_logger_with_the_filter_writes_no_secret() -> None:
    stream = io.StringIO()
    logger = logging.Logger("of this test")
    logger.addHandler(logging.StreamHandler(stream))
    logger.addFilter(Redacting())
    try:
        raise ValueError(f"password={SECRET}")
    except ValueError:
        logger.exception("Task %s is given back.", "t-1", exc_info=sys.exc_info())
    logger.warning("%s", ConnectionError(f"amqp://u:{SECRET}@h"))
    assert SECRET not in stream.getvalue()
    assert "Task t-1 is given back." in stream.getvalue()
    assert "ValueError: password=(redacted)" in stream.getvalue()
