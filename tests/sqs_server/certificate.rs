//! A certificate that nobody vouches for.

use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};

/// A certificate for this machine, and its key: files in a folder.
pub fn certificate(folder: &Path) -> [String; 2] {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let paths = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    std::fs::write(&paths[0], cert.pem()).unwrap();
    std::fs::write(&paths[1], signing_key.serialize_pem()).unwrap();
    paths.map(|path| path.to_str().unwrap().to_owned())
}
