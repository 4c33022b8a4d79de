//! Log lines written by a background thread, which their producers never wait for.

mod line_writer;
mod sink;
mod writer_thread;

pub use line_writer::{LineWriter, WriterHandle};
pub use sink::LineSink;
