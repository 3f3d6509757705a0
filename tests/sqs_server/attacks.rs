//! What browsers send to the broker for pages of other sites.

use super::http::{Answer, send_raw};
use super::server::Server;

/// A request as a browser sends it: `METHOD TARGET`, headers and a body. `HOST` stands for the broker's
/// address.
pub struct Attack {
    pub what: &'static str,
    line: &'static str,
    headers: &'static [&'static str],
    body: &'static str,
}

pub const PAGE: [&str; 3] = [
    "Origin: https://evil.example",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Mode: no-cors",
];
pub const SEND: &str = "Action=SendMessage&MessageBody=evil";
pub const PURGE: &str = "Action=PurgeQueue&x=";
pub const QUEUE: &str = "POST /000000000000/q";

pub const ATTACKS: [Attack; 18] = [
    Attack {
        what: "a form",
        line: QUEUE,
        headers: &[
            "Host: HOST",
            "Content-Type: application/x-www-form-urlencoded",
            "Origin: https://evil.example",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
        ],
        body: SEND,
    },
    Attack {
        what: "a form of a browser without Sec-Fetch headers",
        line: QUEUE,
        headers: &[
            "Host: HOST",
            "Content-Type: application/x-www-form-urlencoded",
            "Origin: http://evil.example",
        ],
        body: PURGE,
    },
    Attack {
        what: "a form of a browser without Sec-Fetch headers and without an origin",
        line: QUEUE,
        headers: &[
            "Host: HOST",
            "Content-Type: application/x-www-form-urlencoded",
            "Referer: http://evil.example/page",
        ],
        body: PURGE,
    },
    Attack {
        what: "a form in a sandboxed frame",
        line: QUEUE,
        headers: &[
            "Host: HOST",
            "Content-Type: application/x-www-form-urlencoded",
            "Origin: null",
        ],
        body: SEND,
    },
    Attack {
        what: "a form of plain text",
        line: QUEUE,
        headers: &["Host: HOST", "Content-Type: text/plain", PAGE[0], PAGE[1]],
        body: SEND,
    },
    Attack {
        what: "a form in parts, its parameters in the URL",
        line: "POST /000000000000/q?Action=SendMessage&MessageBody=evil",
        headers: &[
            "Host: HOST",
            "Content-Type: multipart/form-data; boundary=b",
            PAGE[0],
            PAGE[1],
        ],
        body: "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n",
    },
    Attack {
        what: "fetch without CORS",
        line: QUEUE,
        headers: &[
            "Host: HOST",
            "Content-Type: text/plain",
            PAGE[0],
            PAGE[1],
            PAGE[2],
        ],
        body: PURGE,
    },
    Attack {
        what: "a page on another port of this machine",
        line: QUEUE,
        headers: &[
            "Host: HOST",
            "Content-Type: text/plain",
            "Origin: http://127.0.0.1:3000",
            "Sec-Fetch-Site: same-site",
        ],
        body: SEND,
    },
    Attack {
        what: "an image",
        line: "GET /000000000000/q?Action=SendMessage&MessageBody=evil",
        headers: &["Host: HOST", PAGE[1], PAGE[2], "Sec-Fetch-Dest: image"],
        body: "",
    },
    Attack {
        what: "an image of a browser without Sec-Fetch headers that names no page",
        line: "GET /000000000000/q?Action=SendMessage&MessageBody=evil&X-Amz-Signature=0",
        headers: &["Host: HOST"],
        body: "",
    },
    Attack {
        what: "an image whose URL names an action that reads, too",
        line: "GET /000000000000/q?Action=ListQueues&%41ction=PurgeQueue",
        headers: &["Host: HOST"],
        body: "",
    },
    Attack {
        what: "an image with a receive",
        line: "GET /000000000000/q?Action=ReceiveMessage",
        headers: &["Host: HOST"],
        body: "",
    },
    Attack {
        what: "a link that is clicked",
        line: "GET /000000000000/q?Action=PurgeQueue",
        headers: &[
            "Host: HOST",
            "Sec-Fetch-Site: none",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-User: ?1",
        ],
        body: "",
    },
    Attack {
        what: "a link with a user name",
        line: "GET /000000000000/q?Action=PurgeQueue",
        headers: &["Host: HOST", "Authorization: Basic QVdTNDp4"],
        body: "",
    },
    Attack {
        what: "fetch of the headers alone",
        line: "HEAD /000000000000/q?Action=PurgeQueue",
        headers: &["Host: HOST", PAGE[1], PAGE[2]],
        body: "",
    },
    Attack {
        what: "a script of a site whose name was pointed at this machine",
        line: QUEUE,
        headers: &[
            "Host: evil.example",
            "X-Amz-Target: AmazonSQS.PurgeQueue",
            "Content-Type: application/x-amz-json-1.0",
            "Origin: http://evil.example",
            "Sec-Fetch-Site: same-origin",
        ],
        body: r#"{"QueueUrl": "/000000000000/q"}"#,
    },
    Attack {
        what: "the same, with GET and without an origin",
        line: "GET /000000000000/q",
        headers: &["Host: evil.example", "X-Amz-Target: AmazonSQS.PurgeQueue"],
        body: r#"{"QueueUrl": "/000000000000/q"}"#,
    },
    Attack {
        what: "fetch of JSON whose question beforehand was refused",
        line: "POST /",
        headers: &[
            "Host: HOST",
            "X-Amz-Target: AmazonSQS.PurgeQueue",
            "Content-Type: application/x-amz-json-1.0",
            PAGE[0],
            PAGE[1],
        ],
        body: r#"{"QueueUrl": "/000000000000/q"}"#,
    },
];

impl Attack {
    /// Sends it.
    pub fn on(&self, server: &Server) -> Answer {
        let headers: Vec<String> = self
            .headers
            .iter()
            .map(|line| line.replace("HOST", server.address()))
            .collect();
        send_raw(server.address(), self.line, &headers, self.body)
    }
}
