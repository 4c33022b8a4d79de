//! Listening sockets, their addresses, and the network interfaces of this machine.

mod endpoint;
mod interfaces;
pub(super) mod listener;
mod socket_activation;
mod unix_socket;

pub use endpoint::Endpoint;
pub use interfaces::{lan_address, lan_addresses, zone_index};
pub use listener::Listener;
pub use socket_activation::{ActivationError, activated_listeners};
