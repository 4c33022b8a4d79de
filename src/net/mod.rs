//! Moves bytes; knows no protocol.
//!
//! A server is a [`Protocol`]: what to say when bytes have arrived. The [`Reactor`] owns the
//! sockets, the clock and the buffers, and does the rest. `examples/` has five small servers and
//! clients that are written on this folder alone.

mod connection;
mod deadlines;
mod inbox;
mod limits;
mod listener;
mod outbox;
mod protocol;
mod reactor;
mod transport;

pub use inbox::Inbox;
pub use limits::{Limits, descriptors};
pub use listener::Listener;
pub use outbox::Outbox;
pub use protocol::{Closed, Io, Next, Now, Peer, Protocol};
pub use reactor::{Handle, Reactor};
