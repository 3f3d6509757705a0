//! Keeps web pages out. A browser on this machine can reach every local server and runs the code of
//! any open page, so a form, an image or a script of that page may send requests here. Programs
//! send none of the headers that are checked, so SQS clients are not affected.
//!
//! Three signs reveal a page. Its `Origin`, `Sec-Fetch-Site` or `Referer` names another site. Its
//! `Host` is a name that an attacker pointed at this address to appear as the same site (DNS
//! rebinding). The remaining cases, links and images that reveal nothing, can only be a GET, and an
//! unsigned GET changes nothing.

pub mod address;
pub mod cors;
mod headers;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};

use address::{Authority, Host, Origin};
use headers::{is_signed, only};

/// Additional hosts and web pages that the operator allows.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// Names and addresses by which clients reach this server (`--allow-host`).
    ///
    /// The machine's own name is not included by default: a network's DHCP server may choose it,
    /// and a page of that name would then be allowed.
    pub hosts: Vec<Host>,
    /// Origins whose pages may use this server (`--allow-origin`).
    pub origins: Vec<Origin>,
}

/// The extent of what a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Everything.
    All,
    /// Requests that change nothing.
    Reading,
}

/// A request that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Permitted extent of the request.
    pub reach: Reach,
    /// The `Origin` of the allowed page that sent the request; the answer must allow that page to
    /// read it.
    pub page: Option<HeaderValue>,
}

/// A reason to refuse a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The method is neither one of SQS nor a browser's preflight.
    #[error("The method {0} is not for SQS; use POST.")]
    Method(Method),
    /// A header that decides occurs twice, or is not text.
    #[error("The request's {0} header cannot be relied on: it must be there once, as plain text.")]
    Header(&'static str),
    /// No `Host` header: every SQS client and every browser sends one.
    #[error("The request has no Host header; send the host and port of the endpoint.")]
    NoHost,
    /// A `Host` header, or a request line, that is not a host with an optional port.
    #[error("The request's host is not a host name or address with a port.")]
    BadHost,
    /// A host name that is not allowed for this server.
    #[error(
        "The broker does not answer to the host {0}, so that no web page can reach it under a name \
         of its own. If clients use this host, start the broker with --allow-host {0}"
    )]
    ForeignHost(Host),
    /// A page of another site.
    #[error(
        "The request comes from a web page of {0}, and web pages may not use this broker. To let \
         this page use it, start the broker with --allow-origin {0}"
    )]
    Page(Origin),
    /// A page whose site is unknown, or cannot be allowed.
    #[error(
        "The request comes from a web page of another site, and web pages may not use this broker."
    )]
    UnknownPage,
}

/// Decides about requests by their method, URI and headers, before a body is read.
#[derive(Debug, Clone)]
pub struct Guard {
    bound: Host,
    allowed: Allowed,
    is_https: bool,
}

impl Guard {
    /// A guard of a server that listens on `bound`.
    #[must_use]
    pub fn new(bound: SocketAddr, allowed: Allowed) -> Self {
        Self {
            bound: bound.into(),
            allowed,
            is_https: false,
        }
    }

    /// The guard of a server that encrypts.
    #[must_use]
    pub fn over_https(self, is_https: bool) -> Self {
        Self { is_https, ..self }
    }

    /// Admits a request, with its permitted extent.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn admit(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Admission, Refusal> {
        let is_read = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        let is_admin = uri.path().starts_with(super::admin::PREFIX);
        if !is_read && method != Method::POST && !(is_admin && method == Method::DELETE) {
            return Err(Refusal::Method(method.clone()));
        }
        let own = Origin::of(&self.host(uri, headers)?, self.is_https);
        let page = self.page(&own, headers)?;
        // A followed link or a typed address: it may come from anywhere.
        let is_visit = only(headers, "sec-fetch-site")? == Some("none")
            || only(headers, "sec-fetch-mode")? == Some("navigate");
        let is_changing = page.is_some() || !is_visit;
        Ok(Admission {
            reach: if is_changing && (!is_read || is_signed(headers)?) {
                Reach::All
            } else {
                Reach::Reading
            },
            page,
        })
    }

    /// The host that the request is for. A request line may name one too (`GET http://host/`).
    /// Ports are not compared: they differ wherever one is forwarded, and a page cannot choose one.
    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<Authority, Refusal> {
        let named = only(headers, "host")?.ok_or(Refusal::NoHost)?;
        let in_line = uri.authority().map(axum::http::uri::Authority::as_str);
        for text in in_line.into_iter().chain([named]) {
            let host = Authority::parse(text).ok_or(Refusal::BadHost)?.host;
            if !self.is_known(&host) {
                return Err(Refusal::ForeignHost(host));
            }
        }
        Authority::parse(named).ok_or(Refusal::BadHost)
    }

    /// Whether clients may reach this server by that host. Names must be allowed one by one,
    /// because any name can be made to point here. An address cannot, so a server that is reachable
    /// from other machines accepts any address.
    fn is_known(&self, host: &Host) -> bool {
        host.is_loopback()
            || *host == self.bound
            || self.allowed.hosts.contains(host)
            || (matches!(host, Host::Ip(_)) && !self.bound.is_loopback())
    }

    /// The allowed page that sent the request, if a page did.
    fn page(&self, own: &Origin, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let site = only(headers, "sec-fetch-site")?;
        if let Some(text) = only(headers, "origin")? {
            let origin = Origin::parse(text).ok_or(Refusal::UnknownPage)?;
            if self.allowed.origins.contains(&origin) {
                return Ok(headers.get(header::ORIGIN).cloned());
            }
            return match site {
                None | Some("same-origin") if origin == *own => Ok(None),
                _ => Err(Refusal::Page(origin)),
            };
        }
        if !matches!(site, None | Some("same-origin" | "none")) {
            return Err(Refusal::UnknownPage);
        }
        // Browsers from before 2020 may send a form without an origin.
        let Some(url) = only(headers, header::REFERER.as_str())? else {
            return Ok(None);
        };
        let origin = Origin::of_page(url).ok_or(Refusal::UnknownPage)?;
        if origin == *own || self.allowed.origins.contains(&origin) {
            return Ok(None);
        }
        Err(Refusal::Page(origin))
    }
}
