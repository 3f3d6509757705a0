//! Address of the metrics server.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Description of a valid address.
const EXPECTED: &str = "give an IP address and a port (0.0.0.0:9400), a port for loopback, or off";

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    /// `ADDRESS:PORT`; `PORT` and `:PORT` mean loopback; `off`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        let port = text.strip_prefix("localhost").unwrap_or(text);
        let port = port.strip_prefix(':').unwrap_or(port);
        if let Ok(port) = port.parse() {
            return Ok(Self(Some((IpAddr::V4(Ipv4Addr::LOCALHOST), port).into())));
        }
        let address = text.parse().map_err(|_| EXPECTED)?;
        Ok(Self(Some(address)))
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Address;
        impl Visitor<'_> for Address {
            type Value = Listen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address and a port, a port, or off")
            }
            fn visit_u64<E: de::Error>(self, port: u64) -> Result<Listen, E> {
                port.to_string().parse().map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Address)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_is_on_loopback_and_an_address_is_taken_as_it_is() {
        for (text, address) in [
            ("9400", "127.0.0.1:9400"),
            (":9400", "127.0.0.1:9400"),
            ("localhost:9400", "127.0.0.1:9400"),
            ("0.0.0.0:9400", "0.0.0.0:9400"),
            ("[::1]:0", "[::1]:0"),
            ("off", "off"),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), address);
            let read: Listen = serde_json::from_value(text.into()).unwrap();
            assert_eq!(read.to_string(), address);
        }
        let port: Listen = serde_json::from_str("9400").unwrap();
        assert_eq!(port.to_string(), "127.0.0.1:9400");
        for text in ["", "host:9400", "65536", "127.0.0.1", "-1"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
