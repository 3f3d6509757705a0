//! A queue's server-side encryption: with SQS's own keys, with one of KMS, or none. What is asked for
//! is kept and answered; nothing is encrypted here.

use std::collections::BTreeMap;

use crate::local_broker::error::{ErrorKind, SqsError};

/// The KMS key.
pub const KMS_KEY: &str = "KmsMasterKeyId";
/// For how long SQS uses a data key of it, in seconds. Not answered without a key.
pub const KMS_PERIOD: &str = "KmsDataKeyReusePeriodSeconds";
/// Whether SQS's own keys are used.
pub const MANAGED: &str = "SqsManagedSseEnabled";

/// Adds to attributes that are being set what follows from the kind of encryption among them: a KMS
/// key ends encryption with SQS's own, which does not come back with the key's removal; SQS's own
/// ends that of KMS.
///
/// # Errors
/// Both kinds at once.
pub fn choose(attributes: &mut BTreeMap<String, String>) -> Result<(), SqsError> {
    let managed = attributes
        .get(MANAGED)
        .is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case("true"));
    let has_key = attributes.get(KMS_KEY).is_some_and(|key| !key.is_empty());
    match (has_key, managed) {
        (true, true) => Err(SqsError::new(
            ErrorKind::InvalidAttributeName,
            "You can use one type of server-side encryption (SSE) at one time. You can either \
             enable KMS SSE or SQS SSE.",
        )),
        (true, false) => {
            attributes.insert(MANAGED.to_owned(), "false".to_owned());
            Ok(())
        }
        (false, true) => {
            attributes.insert(KMS_KEY.to_owned(), String::new());
            Ok(())
        }
        (false, false) => Ok(()),
    }
}
