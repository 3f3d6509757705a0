//! A queue's server-side encryption: with keys of SQS, with a KMS key, or none. The setting is kept
//! and returned; nothing is encrypted here.

use std::collections::BTreeMap;

use crate::sqs_server::error::{ErrorKind, SqsError};

/// The KMS key.
pub const KMS_KEY: &str = "KmsMasterKeyId";
/// Time for which SQS reuses a data key, in seconds. Not returned without a KMS key.
pub const KMS_PERIOD: &str = "KmsDataKeyReusePeriodSeconds";
/// Whether keys of SQS are used.
pub const MANAGED: &str = "SqsManagedSseEnabled";

/// Adds the attributes that follow from the kind of encryption being set. A KMS key ends encryption
/// with keys of SQS, which does not return when the KMS key is removed; encryption with keys of SQS
/// ends that of KMS.
///
/// # Errors
/// Both kinds are requested.
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
