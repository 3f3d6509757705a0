//! Hosts and origins, as requests name them and as the operator allows them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A host without its port: a name in lower case, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address; an IPv4 address in IPv6 form is the IPv4 address.
    Ip(IpAddr),
    /// A DNS name without the dot at its end.
    Name(String),
}

impl Host {
    /// Whether the host always means the client's own machine: `localhost`, every name below it
    /// (RFC 6761), 127.0.0.0/8 and `::1`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(IpAddr::V6(ip).to_canonical()));
        }
        // `localhost.` is `localhost`: browsers send the dot when it was typed.
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(IpAddr::V4(ip)) = text.parse() {
            return Some(Self::Ip(ip.into()));
        }
        let is_label = |label: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            !label.is_empty() && label.bytes().all(allowed)
        };
        // Browsers convert `2130706433` and `0x7f.1` to 127.0.0.1 before they send them. Received
        // literally they are names, which the operator would have to allow.
        let is_name = text.len() <= 253 && text.split('.').all(is_label);
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    /// Reads the value of `--allow-host`. An IPv6 address may come without brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        Self::parse(text).ok_or_else(|| {
            "give one host name or address, without scheme, port or path; `*` is not possible, \
             because the list is what keeps other names out"
                .to_owned()
        })
    }
}

/// A host and a port, as a `Host` header and a URI's authority write them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, where one is written.
    pub port: Option<u16>,
}

impl Authority {
    /// Parses `host[:port]`. User names, empty ports and IPv6 addresses without brackets are
    /// refused.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match text[end..].split_once(':') {
            Some((rest, port)) => (&text[..end + rest.len()], Some(port)),
            None => (text, None),
        };
        let port = match port {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
            None => None,
        };
        Some(Self {
            host: Host::parse(host)?,
            port,
        })
    }
}

impl From<SocketAddr> for Host {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address.ip().to_canonical())
    }
}

/// Scheme, host and port of a web page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    is_https: bool,
    host: Host,
    port: u16,
}

impl Origin {
    /// The origin of pages served at this `Host`.
    #[must_use]
    pub fn of(authority: &Authority, is_https: bool) -> Self {
        Self {
            is_https,
            host: authority.host.clone(),
            port: authority.port.unwrap_or(if is_https { 443 } else { 80 }),
        }
    }

    /// Parses `scheme://host[:port]` with `http` or `https`; `null` and other schemes are refused.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let Authority { host, port } = Authority::parse(rest)?;
        let port = port.unwrap_or(if is_https { 443 } else { 80 });
        Some(Self {
            is_https,
            host,
            port,
        })
    }

    /// The origin of a page's URL, as a `Referer` header has it.
    #[must_use]
    pub fn of_page(url: &str) -> Option<Self> {
        let host_at = url.find("://")? + "://".len();
        let end = url[host_at..].find(['/', '?', '#']);
        Self::parse(end.map_or(url, |end| &url[..host_at + end]))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default) = if self.is_https {
            ("https", 443)
        } else {
            ("http", 80)
        };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == default {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

impl FromStr for Origin {
    type Err = String;

    /// Reads the value of `--allow-origin`.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            "give one origin such as http://localhost:3000, without a path; `*` and `null` are not \
             possible, because every web page can have those"
                .to_owned()
        })
    }
}
