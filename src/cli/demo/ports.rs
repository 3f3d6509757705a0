//! Loopback ports for the demo's servers.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Returns the preferred port if it is free, else another free one.
///
/// Another process may take it before the server does; the server then reports that and the demo
/// ends with its error.
pub(super) fn free(preferred: u16) -> io::Result<u16> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, preferred)).is_ok() {
        return Ok(preferred);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_by_a_free_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let other = free(port).unwrap();
        assert_ne!(other, port);
        assert_eq!(free(other).unwrap(), other);
    }
}
