//! What a refusal of SQS means. Servers, protocols and single and batch calls use different codes
//! for the same thing: a FIFO delete after the lease ended is `InvalidParameterValue` alone and
//! `ReceiptHandleIsInvalid` in a batch, and only the words say that it is about the handle.

/// Parts of codes that say: this request is wrong, and will be tomorrow.
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

/// Parts of words or codes that say: the message is no longer held by this receive, or is gone.
const LOST: [&str; 3] = ["receipthandle", "messagedoesnotexist", "messagenotexist"];

/// Whether the same request will be refused again, whenever it is sent.
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
