//! Sockets, timers and buffers of a server, independent of its protocol.
//!
//! A server is a [`Protocol`]: callbacks that consume received bytes and queue bytes to send. The [`Reactor`] owns the
//! sockets, the clock and the buffers, and runs the event loop. `examples/` has small servers that use only this
//! module; this one is an echo server:
//!
//! ```
//! use std::io::{Read, Write};
//! use docroot::net::{Io, Limits, Listener, Next, Peer, Protocol, Reactor};
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     type Session = ();
//!
//!     fn on_accept(&mut self, _: &Peer) {}
//!
//!     fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
//!         io.outbox.tail().extend_from_slice(io.inbox.bytes());
//!         io.inbox.consume(io.inbox.bytes().len());
//!         Next::Flush
//!     }
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let listener = Listener::bind(([127, 0, 0, 1], 0).into(), false)?;
//! let address = listener.address().tcp().expect("a TCP listener");
//! let mut reactor = Reactor::new(Echo, Limits::default())?.listen(listener)?;
//! let handle = reactor.handle();
//! let serving = std::thread::spawn(move || reactor.run());
//!
//! let mut client = std::net::TcpStream::connect(address)?;
//! client.write_all(b"hello")?;
//! let mut received = [0; 5];
//! client.read_exact(&mut received)?;
//! assert_eq!(&received, b"hello");
//!
//! handle.stop();
//! serving.join().expect("the reactor does not panic")
//! # }
//! ```

mod acceptor;
mod buffers;
mod close_reason;
mod connection;
mod connections;
mod counters;
mod deadlines;
mod edge_socket;
mod eviction;
mod file_part;
mod inbox;
mod limits;
mod listen;
mod outbox;
mod per_ip_limit;
mod protocol;
mod reactor;
mod reactor_handle;
mod read_credit;
mod transport;

pub use close_reason::CloseReason;
pub use counters::ConnectionCounters;
pub use inbox::Inbox;
pub use limits::{Limits, raise_descriptor_limit};
pub use listen::{
    ActivationError, Endpoint, Listener, activated_listeners, lan_address, lan_addresses,
    zone_index,
};
pub use outbox::Outbox;
pub use per_ip_limit::PerIpLimit;
pub use protocol::{Io, Next, Now, Protocol};
pub use reactor::Reactor;
pub use reactor_handle::ReactorHandle;

pub use crate::peer::{Address, Peer};
