//! The shared part of both ends of a control socket: frames, the folder of the sockets, the frames
//! of the pipe through ssh, the audit log, and a command on its way ([`Request`]).

pub mod audit;
pub mod debounce;
mod error;
pub mod frames;
pub mod proxy_frames;
mod request;
pub mod socket_folder;

pub use error::ControlError;
pub use request::Request;
