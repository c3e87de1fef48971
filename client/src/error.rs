//! Why there is no connection.

#[cfg(feature = "proxy")]
use crate::proxy::ProxyError;
use piko_core::id::BadEndpointId;
use piko_core::tunnel::Failure;
use piko_driver::UpgradeError;
use std::error::Error;
use std::fmt;
use std::io;

/// Why an attempt failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError {
    /// The listener was closed before a tunnel was up.
    Closed,
    /// What was set under this name cannot be sent: it has a control character.
    ControlCharacter(&'static str),
    /// The name is no endpoint id.
    Endpoint(BadEndpointId),
    /// What answered does not speak the protocol.
    Handshake(&'static str),
    /// No connection: refused, reset, unreachable.
    Io(io::Error),
    /// The proxy in between gives no connection to the server.
    #[cfg(feature = "proxy")]
    Proxy(ProxyError),
    /// The server's status, and its message where it gave one.
    Refused(u16, String),
    /// The name has no address.
    Resolve(io::Error),
    /// It took too long.
    Timeout,
    /// The URL asks for TLS, which this build does not have or nobody set up.
    TlsMissing,
    /// Who was asked for the token had none.
    Token(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::ControlCharacter(what) => {
                write!(f, "{what}: a control character (such as a line break at the end)")
            }
            Self::Endpoint(error) => error.fmt(f),
            Self::Handshake(why) => write!(f, "handshake: {why}"),
            Self::Io(error) => error.fmt(f),
            #[cfg(feature = "proxy")]
            Self::Proxy(error) => write!(f, "proxy: {error}"),
            Self::Refused(status, message) if message.is_empty() => write!(f, "{status}: bad handshake"),
            Self::Refused(status, message) => write!(f, "{status}: {message}"),
            Self::Resolve(error) => write!(f, "resolve: {error}"),
            Self::Timeout => f.write_str("timed out"),
            Self::TlsMissing => {
                f.write_str("https needs TLS, which this build does not have or nobody set up")
            }
            Self::Token(error) => write!(f, "token: {error}"),
        }
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) | Self::Resolve(error) => Some(error),
            #[cfg(feature = "proxy")]
            Self::Proxy(error) => Some(error),
            Self::Token(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<UpgradeError> for DialError {
    fn from(error: UpgradeError) -> Self {
        match error {
            UpgradeError::Handshake(why) => Self::Handshake(why),
            UpgradeError::Io(error) => Self::Io(error),
            UpgradeError::Refused(status, message) => Self::Refused(status, message),
            // Whatever else there will be, it is not the protocol.
            _ => Self::Handshake("no upgrade"),
        }
    }
}

impl DialError {
    /// Whether nobody said why: the time was up.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Io(error) | Self::Resolve(error) => error.kind() == io::ErrorKind::TimedOut,
            _ => false,
        }
    }

    /// Which failures another attempt may cure (wire protocol 3.4).
    pub(crate) fn failure(&self) -> Failure {
        match *self {
            Self::Refused(status, _) => Failure::from_status(status),
            // No wait brings what was not built in.
            Self::TlsMissing | Self::ControlCharacter(_) | Self::Endpoint(_) => Failure::Never,
            _ => Failure::Retry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statuses_that_may_change_are_tried_again() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(DialError::Refused(status, String::new()).failure(), Failure::Retry);
        }
        for status in [200, 301, 400, 401, 403, 404, 409, 425, 501, 505] {
            assert_eq!(DialError::Refused(status, String::new()).failure(), Failure::Fatal { status });
        }
        assert_eq!(DialError::Timeout.failure(), Failure::Retry);
        assert_eq!(DialError::Token("none".into()).failure(), Failure::Retry);
        assert_eq!(DialError::TlsMissing.failure(), Failure::Never);
    }
}
