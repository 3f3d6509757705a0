//! Consoles and workers over real sockets and a real sshd.

mod attach;
mod hub;
mod worker;
