//! Moves bytes; knows no protocol.
//!
//! A server is a [`Protocol`]: what to say when bytes have arrived. The [`Reactor`] owns the
//! sockets, the clock and the buffers, and does the rest. `examples/` has small servers that are
//! written on this folder alone; here is one that echoes:
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
//! let address = listener.address().tcp().expect("it was bound to one");
//! let mut reactor = Reactor::new(Echo, Limits::default())?.listen(listener)?;
//! let handle = reactor.handle();
//! let serving = std::thread::spawn(move || reactor.run());
//!
//! let mut peer = std::net::TcpStream::connect(address)?;
//! peer.write_all(b"hello")?;
//! let mut heard = [0; 5];
//! peer.read_exact(&mut heard)?;
//! assert_eq!(&heard, b"hello");
//!
//! handle.stop();
//! serving.join().expect("it does not panic")
//! # }
//! ```

mod address;
mod connection;
mod counters;
mod deadlines;
mod inbox;
mod lan_address;
mod limits;
mod listener;
mod log_throttle;
mod outbox;
mod per_ip_limit;
mod protocol;
mod reactor;
mod socket_activation;
mod transport;
mod unix_socket;

pub use address::{Address, Endpoint, zone_index};
pub use counters::ConnectionCounters;
pub use inbox::Inbox;
pub use lan_address::lan_address;
pub use limits::{Limits, max_cached_files, raise_descriptor_limit};
pub use listener::Listener;
pub use log_throttle::LogThrottle;
pub use outbox::Outbox;
pub use per_ip_limit::PerIpLimit;
pub use protocol::{CloseReason, Io, Next, Now, Peer, Protocol};
pub use reactor::{Reactor, ReactorHandle};
pub use socket_activation::{ActivationError, activated_listeners};
