//! What the options mean for the parts of a node.

use piko_config::ServerOptions;
use piko_core::gossip::Config as GossipConfig;
use piko_core::{http1, proxy as core_proxy};
use piko_driver::Seal;

/// Go reads this much beyond `--proxy.http.max-header-bytes` before it refuses a head (behaviour of HTTP, 9).
const HEAD_SLACK_BYTES: usize = 4096;

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
    config.head_bytes_max = options.proxy.http.max_header_bytes.saturating_add(HEAD_SLACK_BYTES);
    config.head_timeout = options.proxy.http.read_header_timeout;
    config.idle_timeout = options.proxy.http.idle_timeout;
    config
}

pub(crate) fn exchange_config(options: &ServerOptions) -> core_proxy::Config {
    let mut config = core_proxy::Config::new(core_proxy::Place::Server);
    config.response_timeout = options.proxy.timeout;
    config.read_timeout = options.proxy.http.read_timeout;
    config.write_timeout = options.proxy.http.write_timeout;
    config
}
