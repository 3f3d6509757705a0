//! Receipt handles: a message and one of its receives, sealed so that garbage can be distinguished
//! from the handle of a deleted message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Content of a receipt handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The storage id of the queue at the time of the receive.
    pub store: i64,
    /// The message's place in the broker's order.
    pub seq: i64,
    /// The message's receive count at that receive.
    pub receive: u32,
}

const PLAIN: usize = 20;
const SEAL: usize = 12;

/// Makes and reads receipt handles with a secret of the data folder's own.
#[derive(Debug, Clone)]
pub struct ReceiptSealer {
    secret: [u8; 32],
}

impl ReceiptSealer {
    /// A sealer with this secret.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The handle for a receipt.
    #[must_use]
    pub fn seal(&self, receipt: Receipt) -> String {
        let mut bytes = [0; PLAIN + SEAL];
        bytes[..8].copy_from_slice(&receipt.store.to_be_bytes());
        bytes[8..16].copy_from_slice(&receipt.seq.to_be_bytes());
        bytes[16..PLAIN].copy_from_slice(&receipt.receive.to_be_bytes());
        let seal = self.digest(&bytes[..PLAIN]);
        bytes[PLAIN..].copy_from_slice(&seal);
        STANDARD.encode(bytes)
    }

    /// The receipt in a handle, or `None` if this data folder did not issue it.
    #[must_use]
    pub fn open(&self, handle: &str) -> Option<Receipt> {
        let bytes = STANDARD.decode(handle).ok()?;
        let bytes: [u8; PLAIN + SEAL] = bytes.try_into().ok()?;
        let (plain, seal) = bytes.split_at(PLAIN);
        if self.digest(plain) != seal {
            return None;
        }
        Some(Receipt {
            store: i64::from_be_bytes(plain[..8].try_into().ok()?),
            seq: i64::from_be_bytes(plain[8..16].try_into().ok()?),
            receive: u32::from_be_bytes(plain[16..].try_into().ok()?),
        })
    }

    fn digest(&self, plain: &[u8]) -> [u8; SEAL] {
        let digest = Sha256::new()
            .chain_update(self.secret)
            .chain_update(plain)
            .finalize();
        let mut seal = [0; SEAL];
        seal.copy_from_slice(&digest[..SEAL]);
        seal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIPT: Receipt = Receipt {
        store: 3,
        seq: 1_700_000_000_000_000,
        receive: 2,
    };

    #[test]
    fn a_handle_opens_to_the_receipt_it_was_made_of() {
        let sealer = ReceiptSealer::new([7; 32]);
        assert_eq!(sealer.open(&sealer.seal(RECEIPT)), Some(RECEIPT));
    }

    #[test]
    fn garbage_and_another_folders_handle_do_not_open() {
        let sealer = ReceiptSealer::new([7; 32]);
        let foreign = ReceiptSealer::new([8; 32]).seal(RECEIPT);
        for handle in ["", "garbage", "not base64 at all", foreign.as_str()] {
            assert_eq!(sealer.open(handle), None, "{handle}");
        }
    }
}
