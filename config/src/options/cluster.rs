//! The options of a node among others.

use super::{bind, either, fault};
use crate::error::UsageError;
use crate::value::url::{is_host_name, parse_port};
use crate::value::{BindAddr, Secret};
use crate::values::{Source, Values};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// This node among others.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// End the process when no node was joined within [`Self::join_timeout`].
    pub abort_if_join_fails: bool,
    /// How nodes talk to each other.
    pub gossip: GossipOptions,
    /// Nodes to join, by address or by a name with an address for each.
    pub join: Vec<Seed>,
    /// How long joining is tried before it counts as failed.
    pub join_timeout: Duration,
    /// How this node gets its name.
    pub node_id: NodeIdRule,
    /// What all nodes of the cluster share, where there is such a thing.
    pub secret: Option<Secret>,
    /// The file that the secret is read from, instead.
    pub secret_file: Option<String>,
    /// Who named [`Self::secret_file`].
    secret_origin: Option<Origin>,
    /// What is in [`Self::secret_file`], once it was read.
    secret_read: Option<Bytes>,
}

/// Where a value came from, for a complaint.
#[derive(Clone, Debug, PartialEq)]
struct Origin {
    name: String,
    is_file: bool,
}

/// A secret of any bytes. `Debug` does not show them.
#[derive(Clone, PartialEq)]
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// How nodes talk to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GossipOptions {
    /// The address under which others reach this node; what it really listens on when not given.
    pub advertise: Option<BindAddr>,
    /// Where to listen.
    pub bind: BindAddr,
    /// Time between two rounds.
    pub interval: Duration,
    /// The most bytes of a datagram.
    pub packet_bytes_max: usize,
}

/// A node to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// An address or a name, without brackets.
    pub host: String,
    /// The port; that of the own gossip when not given.
    pub port: Option<u16>,
}

/// How a node gets its name (behaviour reference, server: node id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeIdRule {
    /// The prefix, perhaps empty, and seven random characters of `a-z0-9`.
    Generate {
        /// What the name starts with.
        prefix: String,
    },
    /// This name; it must be a different one at every start.
    Given(String),
}

impl Seed {
    /// Reads `host`, `host:port`, `[v6]`, `[v6]:port` and a bare IPv6 address; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(ip) = text.parse::<Ipv6Addr>() {
            return Some(Self { host: ip.to_string(), port: None });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (host, behind) = rest.split_once(']')?;
            let ip: Ipv6Addr = host.parse().ok()?;
            let port = match behind.strip_prefix(':') {
                Some(port) => Some(parse_port(port)?),
                None if behind.is_empty() => None,
                None => return None,
            };
            return Some(Self { host: ip.to_string(), port });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(parse_port(port)?)),
            None => (text, None),
        };
        let known = host.parse::<IpAddr>().is_ok() || is_host_name(host);
        known.then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (_, None) => f.write_str(&self.host),
        }
    }
}

/// Every gossip message carries the ids of the nodes that it tells of.
const NODE_ID_BYTES_MAX: usize = 128;

impl ClusterOptions {
    pub(super) fn from_values(values: &Values) -> Result<Self, UsageError> {
        if values.go_duration("cluster.join-timeout").as_nanos() == 0 {
            return Err(fault(values, &["cluster.join-timeout"], "cluster: missing join timeout"));
        }
        let mut join = Vec::new();
        for entry in values.list("cluster.join").iter().filter(|entry| !entry.trim().is_empty()) {
            join.push(Seed::parse(entry).ok_or_else(|| {
                let message = format!("cluster: join: not an address: {}", crate::error::quoted(entry));
                fault(values, &["cluster.join"], &message)
            })?);
        }
        let (secret, secret_file) = either(values, "cluster", "cluster.secret")?;
        for key in ["cluster.node-id", "cluster.node-id-prefix"] {
            if values.text(key).len() > NODE_ID_BYTES_MAX {
                let message = format!("cluster: node id: longer than {NODE_ID_BYTES_MAX} bytes");
                return Err(fault(values, &[key], &message));
            }
        }
        Ok(Self {
            abort_if_join_fails: values.flag("cluster.abort-if-join-fails"),
            gossip: GossipOptions::from_values(values)?,
            join,
            join_timeout: values.duration("cluster.join-timeout"),
            node_id: match values.text("cluster.node-id") {
                "" => NodeIdRule::Generate { prefix: values.text("cluster.node-id-prefix").to_owned() },
                id => NodeIdRule::Given(id.to_owned()),
            },
            secret: Some(secret).filter(|text| !text.is_empty()).map(Secret::new),
            secret_file: Some(secret_file).filter(|path| !path.is_empty()).map(str::to_owned),
            secret_origin: Some(Origin {
                name: values.origin("cluster.secret-file"),
                is_file: values.source("cluster.secret-file") == Source::File,
            }),
            secret_read: None,
        })
    }

    /// Reads [`Self::secret_file`], where there is one, and keeps what is in it: for whoever starts a node, and not for
    /// every new configuration, since a node has one secret for as long as it runs.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, or that there is nothing in it or more than 64 KiB, with the flag, variable or key that
    /// names the file.
    pub fn read_secret(&mut self) -> Result<(), UsageError> {
        let origin = self.secret_origin.as_ref();
        let read = self.secret_bytes_of_file().map_err(|reason| {
            let behind = origin.map(|origin| format!(" [{}]", origin.name)).unwrap_or_default();
            UsageError::located(&format!("config: {reason}{behind}"), origin.is_some_and(|from| from.is_file))
        })?;
        self.secret_read = read.map(Bytes);
        Ok(())
    }

    /// The secret: [`Self::secret`], or what is in [`Self::secret_file`], which is read now unless
    /// [`Self::read_secret`] did so.
    ///
    /// # Errors
    ///
    /// The file and what is wrong with it.
    pub fn secret_bytes(&self) -> Result<Option<Vec<u8>>, String> {
        match (&self.secret, &self.secret_read) {
            (Some(secret), _) => Ok(Some(secret.reveal().as_bytes().to_vec())),
            (None, Some(Bytes(read))) => Ok(Some(read.clone())),
            (None, None) => self.secret_bytes_of_file(),
        }
    }

    fn secret_bytes_of_file(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        match crate::file::secret_bytes(path.as_ref()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(reason) => Err(format!("cluster: {path}: {reason}")),
        }
    }
}

/// What one sealed datagram with a node's two addresses needs at least, and what UDP carries at most.
const PACKET_BYTES: std::ops::RangeInclusive<i64> = 512..=65_000;

impl GossipOptions {
    fn from_values(values: &Values) -> Result<Self, UsageError> {
        let bind = bind(values, "cluster: gossip", "cluster.gossip.bind-addr")?;
        if values.go_duration("cluster.gossip.interval").as_nanos() <= 0 {
            let keys = ["cluster.gossip.interval"];
            return Err(fault(values, &keys, "cluster: gossip: missing interval"));
        }
        let packet = values.int("cluster.gossip.max-packet-size");
        if !PACKET_BYTES.contains(&packet) {
            let message = match packet {
                0 => "cluster: gossip: missing max packet size".to_owned(),
                _ => format!(
                    "cluster: gossip: max packet size must be between {} and {}",
                    PACKET_BYTES.start(),
                    PACKET_BYTES.end()
                ),
            };
            return Err(fault(values, &["cluster.gossip.max-packet-size"], &message));
        }
        Ok(Self {
            advertise: values.bind("cluster.gossip.advertise-addr").cloned(),
            bind,
            interval: values.duration("cluster.gossip.interval"),
            packet_bytes_max: usize::try_from(packet).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_have_a_host_and_maybe_a_port() {
        let seed = |text: &str| Seed::parse(text).map(|seed| (seed.host, seed.port));
        let host = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(seed("10.0.0.1"), host("10.0.0.1", None));
        assert_eq!(seed("10.0.0.1:9"), host("10.0.0.1", Some(9)));
        assert_eq!(seed("piko.svc.local:8003"), host("piko.svc.local", Some(8003)));
        assert_eq!(seed("::1"), host("::1", None));
        assert_eq!(seed("[::1]"), host("::1", None));
        assert_eq!(seed("[fd00::2]:7"), host("fd00::2", Some(7)));
        for bad in ["", ":8003", "a b", "host:x", "[::1", "[::1]x", "[10.0.0.1]:1", "host:70000"] {
            assert_eq!(seed(bad), None, "{bad}");
        }
        for text in ["10.0.0.1:9", "[fd00::2]:7", "name", "::1"] {
            assert_eq!(Seed::parse(text).unwrap().to_string(), text);
        }
    }
}
