//! The options of `piko forward`: local ports that lead to endpoints.

use std::path::PathBuf;
use std::time::Duration;

use super::{ClientTlsOptions, LogOptions, connect_proxy, connect_timeout, connect_urls, fault, token};
use crate::error::{UsageError, quoted, shortened};
use crate::value::{ConnectUrl, ListenAddr, ProxyUrl, Secret};
use crate::values::{Command, Start, Values};

/// What the command line of a forwarder asks for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one per process, and unpacked at once")]
pub enum ForwardInvocation {
    /// Print this text and exit with 0: help, or a configuration.
    Help(String),
    /// Forward.
    Run(ForwardOptions),
}

/// Everything a forwarder is told at its start.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ForwardOptions {
    /// One connection: resolving, connecting, TLS and the upgrade together, and attempts that are made again.
    pub connect_timeout: Duration,
    /// Further servers, tried in order when those before them cannot be connected to.
    pub fallbacks: Vec<ConnectUrl>,
    /// The forwarder's own log.
    pub log: LogOptions,
    /// Lines to show the user at the start.
    pub notices: Vec<String>,
    /// The proxy to connect through.
    pub proxy: Option<ProxyUrl>,
    /// What leads where; never empty when it came from [`ForwardOptions::from_values`].
    pub ports: Vec<PortOptions>,
    /// Where all this came from, to be asked again.
    pub start: Start,
    /// TLS to the server, where its URL asks for it.
    pub tls: ClientTlsOptions,
    /// The token, for `Authorization: Bearer …`; fit for a header.
    pub token: Option<Secret>,
    /// The file that the token came from, to be looked at again.
    pub token_file: Option<PathBuf>,
    /// The server's proxy port.
    pub url: ConnectUrl,
}

/// A local port and the endpoint behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortOptions {
    /// Where to listen. A port alone is one of `localhost`.
    pub bind: ListenAddr,
    /// The endpoint.
    pub endpoint: String,
}

impl ForwardOptions {
    /// Whether any of the servers is spoken TLS with.
    pub fn uses_tls(&self) -> bool {
        self.url.tls || self.fallbacks.iter().any(|url| url.tls)
    }

    /// Checks the values and the arguments of the command, in the order and with the words of Go (behaviour reference,
    /// CLI 3.4).
    ///
    /// # Errors
    ///
    /// What is wrong; `no ports configured` where there is nothing to do.
    ///
    /// # Panics
    ///
    /// When the values are those of another program.
    pub fn from_values(values: &Values) -> Result<Self, UsageError> {
        let options = Self::of_values(values)?;
        match options.ports.is_empty() {
            true => Err(UsageError::nothing_to_do("no ports configured")),
            false => Ok(options),
        }
    }

    /// As above, and nothing to do is no fault.
    pub(crate) fn of_values(values: &Values) -> Result<Self, UsageError> {
        let in_file = (0..values.rows()).map(|row| {
            let values = values.of_row(row);
            let refuse = |key: &str, message: &str| fault(&values, &[key], message);
            PortOptions::new(values.text("addr"), values.text("endpoint-id"), refuse)
        });
        // Those of the file are judged even where the arguments take their place, as in Go.
        let in_file = in_file.collect::<Result<Vec<_>, _>>()?;
        let ports = match values.command() {
            Command::ForwardTcp { addr, endpoint } => {
                vec![PortOptions::new(addr, endpoint, |_, message| UsageError::usage(message))?]
            }
            _ => in_file,
        };
        let (url, fallbacks) = connect_urls(values)?;
        Ok(Self {
            ports,
            url,
            fallbacks,
            proxy: connect_proxy(values)?,
            connect_timeout: connect_timeout(values)?,
            tls: ClientTlsOptions::from_values(values, "connect.tls", "connect: tls: ", false)?,
            token: token(values, "connect")?,
            token_file: Some(values.text("connect.token-file"))
                .filter(|path| !path.is_empty())
                .map(Into::into),
            log: LogOptions::from_values(values)?,
            #[cfg(feature = "tls")]
            notices: super::connect_notices(values)?,
            #[cfg(not(feature = "tls"))]
            notices: values.notices().to_vec(),
            start: values.start().clone(),
        })
    }
}

impl PortOptions {
    fn new(
        addr: &str,
        endpoint: &str,
        refuse: impl Fn(&str, &str) -> UsageError,
    ) -> Result<Self, UsageError> {
        if endpoint.is_empty() {
            return Err(refuse("endpoint-id", "port: missing endpoint id"));
        }
        let section = format!("port: {}: ", shortened(endpoint));
        if endpoint.len() > super::ENDPOINT_ID_BYTES_MAX || endpoint.contains('/') {
            return Err(refuse("endpoint-id", &format!("{section}invalid endpoint id")));
        }
        if addr.is_empty() {
            return Err(refuse("addr", &format!("{section}missing addr")));
        }
        let bind = ListenAddr::parse(addr).ok_or_else(|| {
            let examples = "3000, host:3000, unix:/path";
            refuse("addr", &format!("{section}invalid addr: {} (examples: {examples})", quoted(addr)))
        })?;
        Ok(Self { bind, endpoint: endpoint.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(addr: &str) -> Result<ForwardOptions, UsageError> {
        let command = Command::ForwardTcp { addr: addr.to_owned(), endpoint: "e".to_owned() };
        ForwardOptions::from_values(&Values::resolve(command, &[], &|_| None).expect("defaults"))
    }

    #[test]
    fn a_port_alone_is_one_of_localhost() {
        for (text, bind) in [
            ("3000", "localhost:3000"),
            ("65535", "localhost:65535"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::1]:1", "[::1]:1"),
            (":1", ":1"),
            ("unix:/run/x", "unix:/run/x"),
            ("unix:///run/x", "unix:/run/x"),
        ] {
            assert_eq!(forward(text).expect(text).ports[0].bind.to_string(), bind, "{text}");
        }
        for text in ["", "65536", "+1", "-1", "host", "a b:1", "unix:", "unix:x"] {
            let line = forward(text).expect_err(text).to_string();
            assert!(line.starts_with("port: e: "), "{line}");
        }
    }

    #[test]
    fn tls_without_a_server_that_speaks_it_is_told() {
        let notices = |url: &str| {
            let given =
                [("connect.url", url.to_owned()), ("connect.tls.insecure-skip-verify", "true".to_owned())];
            let command = Command::ForwardTcp { addr: "1".to_owned(), endpoint: "e".to_owned() };
            let values = Values::resolve(command, &given, &|_| None).expect("is well-formed");
            ForwardOptions::from_values(&values).expect("is good").notices
        };
        assert_eq!(notices("http://a"), ["connect.tls: no effect without an https:// URL in connect.url"]);
        assert!(notices("http://a,https://b").is_empty());
        assert!(forward("1").expect("is good").notices.is_empty());
    }

    #[test]
    fn the_defaults_are_those_of_go() {
        let options = forward("1").expect("is good");
        assert_eq!(options.url.to_string(), "http://localhost:8000");
        assert_eq!(options.connect_timeout, Duration::from_secs(30));
        let nothing = Values::defaults(Command::ForwardStart);
        let error = ForwardOptions::from_values(&nothing).expect_err("has nothing to do");
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("no ports configured", 1));
    }
}
