"""Errors between Dagster and SQS, each as one sentence with a remedy."""

from typing import Any

from _dagster_taskiq_host.redaction import redact, redact_exception


class DagsterTaskiqError(Exception):
    """Base of everything this package raises on purpose; its text is meant for operators, and is
    written to Dagster's log: secrets in it are hidden.
    """

    def __init__(self, text: str = ""):
        super().__init__(redact(text))


class NoQueueError(DagsterTaskiqError):
    """No queue is configured, and no broker of ours listens at the default address."""


class ConfigurationError(DagsterTaskiqError):
    """A setting has an invalid value."""


class BrokerUnreachableError(DagsterTaskiqError):
    """The endpoint did not answer, or answered with a server-side error. May be temporary."""


class QueueMissingError(DagsterTaskiqError):
    """The queue does not exist."""


class AccessError(DagsterTaskiqError):
    """Credentials are missing, invalid, or lack a permission."""


class MessageTooLargeError(DagsterTaskiqError):
    """A message exceeds the queue's limit, and no bucket is configured for large ones."""


class SendError(DagsterTaskiqError):
    """SQS refused a message for another reason."""


_MISSING_QUEUE = {"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
_ACCESS = {
    "AccessDenied",
    "AccessDeniedException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "KmsAccessDenied",
    "KMS.AccessDeniedException",
    "OptInRequired",
}
_TEMPORARY = {
    "RequestThrottled",
    "RequestExpired",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "SlowDown",
    "ServiceUnavailable",
    "InternalError",
    "InternalFailure",
    "OverLimit",
    "KmsThrottled",
    "KMS.ThrottlingException",
}


def from_code(code: str, detail: str, *, tried: str, target: str) -> DagsterTaskiqError:
    """The error for an SQS or S3 error code; ``tried`` is a phrase such as "send a step"."""
    tail = f" ({code}: {detail})" if detail else f" ({code})"
    if code in _MISSING_QUEUE:
        return QueueMissingError(
            f"Could not {tried}: the queue {target} does not exist{tail};"
            " create it (dagster-taskiq-tui queue create) or correct queue_url or"
            " DAGSTER_TASKIQ_SQS_QUEUE_URL."
        )
    if code in _ACCESS:
        return AccessError(
            f"Could not {tried}: AWS refused the credentials or the permission for {target}{tail};"
            " check AWS_ACCESS_KEY_ID, the profile or the role, the region, and the policy."
        )
    if code in _TEMPORARY or code.startswith("5"):
        return BrokerUnreachableError(
            f"Could not {tried}: {target} is overloaded or failing{tail}; try again later."
        )
    return SendError(f"Could not {tried} on {target}: SQS refused it{tail}.")


def translate(error: BaseException, *, tried: str, target: str) -> DagsterTaskiqError:
    """Turn a botocore exception into one of ours; one of ours is returned as it is."""
    from botocore import exceptions as boto

    if isinstance(error, DagsterTaskiqError):
        return error
    # It stays the cause of our error, and is shown with it.
    redact_exception(error)
    if isinstance(error, boto.ClientError):
        answer: dict[str, Any] = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(answer.get("Code", "")).removeprefix("com.amazonaws.sqs#")
        if status >= 500 and code not in _MISSING_QUEUE | _ACCESS:
            code = f"{status} {code}"
        return from_code(code, str(answer.get("Message", "")), tried=tried, target=target)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return AccessError(
            f"Could not {tried} on {target}: no complete AWS credentials were found; set"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or run with a role."
        )
    if isinstance(
        error, (boto.CredentialRetrievalError, boto.ProfileNotFound, boto.TokenRetrievalError)
    ):
        return AccessError(
            f"Could not {tried} on {target}: the AWS credentials could not be loaded ({error});"
            " correct the profile or its provider."
        )
    if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
        return BrokerUnreachableError(
            f"Could not {tried}: nothing answered at {target} ({_short(error)}); start the broker"
            " or correct endpoint_url, queue_url or DAGSTER_TASKIQ_SQS_ENDPOINT_URL."
        )
    if isinstance(error, (boto.ParamValidationError, ValueError)):
        return ConfigurationError(f"Could not {tried} on {target}: {_short(error)}.")
    return SendError(f"Could not {tried} on {target}: {type(error).__name__}: {_short(error)}.")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
