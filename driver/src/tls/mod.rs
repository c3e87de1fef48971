//! TLS over any [`Io`](crate::Io), by rustls (design guide A.7): the stream, both handshakes, and settings out of files
//! that are read again when they change.
//!
//! The cryptography is the program's choice and comes with [`Crypto`]; there is no process-wide default.

mod accept;
mod alert;
mod connect;
mod files;
mod io;
mod itself;
mod load;
mod roots;
mod session;
mod sni;
mod trust;
mod x509;

pub use accept::{AcceptError, Acceptor, LoadedServer};
pub use alert::is_refusal;
pub use connect::{Connector, LoadedClient};
pub use io::TlsIo;
pub use load::{ClientFiles, Crypto, PairFiles, ServerFiles, Tickets};
pub use roots::useless_authorities;
