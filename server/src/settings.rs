//! What the options mean for the parts of a node.

use piko_config::ServerOptions;
use piko_core::gossip::Config as GossipConfig;
use piko_core::{http1, proxy as core_proxy};
use piko_driver::Seal;

/// Go reads this much beyond `--proxy.http.max-header-bytes` before it refuses a head (behaviour of HTTP, 9).
const HEAD_SLACK_BYTES: usize = 4096;

/// What nodes add to a head, apart from what is in it already: an address, an endpoint with each byte of it escaped, a proof.
const NODE_FIELDS_BYTES: usize = 4096;

/// Seven random characters of `a-z0-9` (wire protocol, section 2).
pub(crate) fn generate_id(prefix: &str) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut id = prefix.to_owned();
    id.extend((0..7).map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())])));
    id
}

pub(crate) fn gossip(options: &ServerOptions, sealed: bool) -> GossipConfig {
    let mut config = GossipConfig::default();
    config.interval = options.cluster.gossip.interval;
    config.packet_bytes_max = options.cluster.gossip.packet_bytes_max;
    if sealed {
        config.packet_bytes_max -= Seal::OVERHEAD_BYTES;
    }
    config
}

pub(crate) fn proxy_http(options: &ServerOptions) -> http1::Config {
    let mut config = http1::Config::default();
    // Only behind its head it is known whether a request is a client's. One that another node let in has become longer on
    // its way: a blank behind each colon, its host once more as `X-Forwarded-Host`, and some fields of nodes.
    let of_clients = options.proxy.http.max_header_bytes.saturating_add(HEAD_SLACK_BYTES);
    config.set_head_bytes_max(of_clients.saturating_mul(2).saturating_add(NODE_FIELDS_BYTES));
    config.head_timeout = options.proxy.http.read_header_timeout;
    config.idle_timeout = options.proxy.http.idle_timeout;
    config
}

/// How large the head of a client's request may be, on a connection with the limits of [`proxy_http`].
pub(crate) fn head_bytes_max(limits: &http1::Config) -> usize {
    limits.head_bytes_max.saturating_sub(NODE_FIELDS_BYTES) / 2
}

/// What agents let pass, in the form in which it comes from them: a blank behind each colon, and a `Date`.
pub(crate) fn responses() -> http1::Config {
    let mut config = http1::Config::default();
    config.set_head_bytes_max(config.head_bytes_max / 4 * 5 + HEAD_SLACK_BYTES);
    config
}

pub(crate) fn exchange_config(options: &ServerOptions) -> core_proxy::Config {
    let mut config = core_proxy::Config::new(core_proxy::Place::Server);
    config.response_timeout = options.proxy.timeout;
    config.read_timeout = options.proxy.http.read_timeout;
    config.write_timeout = options.proxy.http.write_timeout;
    config
}
