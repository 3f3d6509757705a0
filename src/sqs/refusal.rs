//! Meaning of a refusal by SQS. Servers, protocols and single and batch calls use different codes
//! for the same error. A FIFO delete after the lease ended is `InvalidParameterValue` in a single
//! call and `ReceiptHandleIsInvalid` in a batch, and only the message text shows that it concerns
//! the handle.

/// Parts of codes of permanent errors: the same request will always fail.
const WRONG: [&str; 12] = [
    "invalidparameter",
    "invalidattribute",
    "invalididformat",
    "invalidmessage",
    "invalidaction",
    "missingparameter",
    "missingrequired",
    "malformed",
    "serialization",
    "unsupported",
    "unknownoperation",
    "notinflight",
];

/// Parts of messages or codes that mean: this receive no longer holds the message, or the message
/// is gone.
const LOST: [&str; 3] = ["receipthandle", "messagedoesnotexist", "messagenotexist"];

/// Whether the same request will be refused again at any later time.
pub(super) fn is_final(code: &str, words: &str) -> bool {
    let (code, words) = (letters_of(code), letters_of(words));
    WRONG.iter().any(|part| code.contains(part))
        || LOST
            .iter()
            .any(|part| code.contains(part) || words.contains(part))
}

fn letters_of(text: &str) -> String {
    let letters = text.chars().filter(char::is_ascii_alphabetic);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::is_final;

    #[test]
    fn a_refusal_is_final_by_its_meaning() {
        let expired = "Value AQEB+/= for parameter ReceiptHandle is invalid. Reason: The receipt \
                       handle has expired.";
        for (code, words) in [
            ("InvalidParameterValue", expired),
            ("InvalidParameterValueException", expired),
            ("ReceiptHandleIsInvalid", "The receipt handle has expired"),
            ("AWS.SimpleQueueService.MessageNotInflight", "no message"),
            ("ValidationError", "The receipt handle is not valid."),
            ("400", "Message does not exist"),
            ("InvalidMessageContents", "Invalid binary character"),
            (
                "MissingParameter",
                "The request must contain the parameter MessageBody.",
            ),
            ("AWS.SimpleQueueService.UnsupportedOperation", ""),
        ] {
            assert!(is_final(code, words), "{code}: {words}");
        }
    }

    #[test]
    fn what_may_pass_is_not_final() {
        for code in [
            "RequestThrottled",
            "ThrottlingException",
            "KmsThrottled",
            "OverLimit",
            "ServiceUnavailable",
            "InternalError",
            "InternalFailure",
            "RequestTimeout",
            "an error without a code",
        ] {
            assert!(!is_final(code, "Rate exceeded"), "{code}");
        }
    }
}
