//! Accounts: each has its own queues. A client that signs with an access key id of twelve digits
//! belongs to the account of that number, as in `LocalStack` and moto; all others belong to
//! [`DEFAULT`].
//!
//! Inside the broker a queue has one key: its bare name in the default account, and `ACCOUNT/NAME`
//! in any other. Queue names contain no slash.

use std::collections::HashSet;
use std::sync::{Arc, RwLock};

/// The account of clients whose access key id is not an account number.
pub const DEFAULT: &str = "000000000000";

/// Whether this is an account number.
#[must_use]
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The account of a client that signs with this access key id.
#[must_use]
pub fn of_access_key(id: &str) -> &str {
    if is_account(id) { id } else { DEFAULT }
}

/// The key of a queue.
#[must_use]
pub fn key(account: &str, name: &str) -> String {
    // A name with a slash is invalid. It must not be mistaken for a queue of another account.
    if account == DEFAULT && !name.contains('/') {
        name.to_owned()
    } else {
        format!("{account}/{name}")
    }
}

/// Account and name in a queue's key.
#[must_use]
pub fn split(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or((DEFAULT, key))
}

/// The key of the queue `name` in the account of the queue `other`.
#[must_use]
pub fn sibling(other: &str, name: &str) -> String {
    key(split(other).0, name)
}

/// The account in an ARN.
#[must_use]
pub fn in_arn(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

/// The accounts that have, or once had, a queue.
#[derive(Debug, Clone, Default)]
pub struct Accounts(Arc<RwLock<HashSet<String>>>);

impl Accounts {
    /// Records the account of a queue.
    pub fn note(&self, queue: &str) {
        let (account, _) = split(queue);
        if account != DEFAULT
            && let Ok(mut accounts) = self.0.write()
        {
            accounts.insert(account.to_owned());
        }
    }

    /// Resolves the queue that a client of account `caller` names by this account and name: the
    /// queue of that account. Only the name counts where the account part is not an account, and
    /// where a client without an account number names an account that has no queues (copied from
    /// AWS).
    #[must_use]
    pub fn locate(&self, caller: &str, account: &str, name: &str) -> String {
        let is_used = |account: &str| self.0.read().is_ok_and(|known| known.contains(account));
        let counts = is_account(account) && (caller != DEFAULT || is_used(account));
        key(if counts { account } else { caller }, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_bare_name_in_the_default_account_only() {
        assert_eq!(key(DEFAULT, "q"), "q");
        assert_eq!(key("111111111111", "q"), "111111111111/q");
        assert_eq!(split("q"), (DEFAULT, "q"));
        assert_eq!(split("111111111111/q"), ("111111111111", "q"));
        let forged = key(DEFAULT, "111111111111/q");
        assert_eq!(split(&forged), (DEFAULT, "111111111111/q"));
    }

    #[test]
    fn an_account_counts_for_those_who_have_one_and_where_it_has_queues() {
        let accounts = Accounts::default();
        let (one, two) = ("111111111111", "222222222222");
        assert_eq!(accounts.locate(DEFAULT, one, "q"), "q");
        assert_eq!(accounts.locate(two, one, "q"), "111111111111/q");
        assert_eq!(accounts.locate(two, "queue", "q"), "222222222222/q");
        assert_eq!(accounts.locate(two, DEFAULT, "q"), "q");
        accounts.note("111111111111/other");
        assert_eq!(accounts.locate(DEFAULT, one, "q"), "111111111111/q");
    }
}
