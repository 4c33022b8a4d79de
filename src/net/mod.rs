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
//!     fn open(&mut self, _: &Peer) {}
//!
//!     fn advance(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
//!         io.outbox.tail().extend_from_slice(io.inbox.bytes());
//!         io.inbox.consume(io.inbox.bytes().len());
//!         Next::Drain
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

mod activated;
mod address;
mod census;
mod connection;
mod counters;
mod deadlines;
mod inbox;
mod interfaces;
mod limits;
mod listener;
mod outbox;
mod protocol;
mod reactor;
mod reminder;
mod transport;
mod unix;

pub use activated::{NotActivated, activated};
pub use address::{Address, Endpoint, zone};
pub use census::Census;
pub use counters::Counters;
pub use inbox::Inbox;
pub use interfaces::own_address;
pub use limits::{Limits, descriptors, files_within};
pub use listener::Listener;
pub use outbox::Outbox;
pub use protocol::{Closed, Io, Next, Now, Peer, Protocol};
pub use reactor::{Handle, Reactor};
pub use reminder::Reminder;
