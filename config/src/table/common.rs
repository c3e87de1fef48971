//! What every program that reads a file has: behaviour reference, CLI 2.1.

use super::{Effect, Flag, Verb, Yaml};
use crate::value::Kind;

/// A build without YAML cannot go on without the file that it was told to read.
const FILE: Effect = if cfg!(feature = "yaml") {
    Effect::Works
} else {
    Effect::Refused("this build reads no configuration files")
};

pub(super) const fn config_path(verbs: &'static [Verb]) -> Flag {
    let help = "The YAML file with the configuration";
    let mut flag = Flag::new(verbs, "config.path", Kind::Text, "", help_of(FILE, help));
    flag.effect = FILE;
    flag.yaml(Yaml::Absent)
}

pub(super) const fn config_expand_env(verbs: &'static [Verb]) -> Flag {
    let help = "Put environment variables into that file: $VAR, ${VAR}, ${VAR:default}; $$ is a dollar sign";
    let mut flag = Flag::new(verbs, "config.expand-env", Kind::Bool, "false", help_of(FILE, help));
    flag.effect = FILE;
    flag.yaml(Yaml::Absent)
}

/// A build without proxies cannot go on without the one that it was told of.
const PROXY: Effect = if cfg!(feature = "proxy") {
    Effect::Works
} else {
    Effect::Refused("this build connects through no proxy")
};

pub(super) const fn connect_proxy_url(verbs: &'static [Verb]) -> Flag {
    let help = "The proxy to connect through: http://[user:password@]host:port, or socks5 or socks5h";
    let mut flag = Flag::new(verbs, "connect.proxy-url", Kind::Text, "", help_of(PROXY, help));
    flag.effect = PROXY;
    flag
}

/// As [`connect_proxy_url`], for a password that must not stand in a configuration.
pub(super) const fn connect_proxy_url_file(verbs: &'static [Verb]) -> Flag {
    let help = "A file that holds the URL of the proxy";
    let mut flag = Flag::new(verbs, "connect.proxy-url-file", Kind::Text, "", help_of(PROXY, help));
    flag.effect = PROXY;
    flag
}

/// What a build that refuses a flag says of it. The smallest one, which has no TLS, shows none of them and has no bytes to
/// spare for what it does not do.
pub(super) const fn help_of(effect: Effect, help: &'static str) -> &'static str {
    match effect {
        Effect::Refused(_) if cfg!(feature = "tls") => "Not in this build",
        Effect::Refused(_) => "",
        _ => help,
    }
}

pub(super) const fn log_level(verbs: &'static [Verb]) -> Flag {
    let help = "The least severe records to log: debug, info, warn or error";
    Flag::new(verbs, "log.level", Kind::Text, "info", help)
}

pub(super) const fn log_subsystems(verbs: &'static [Verb]) -> Flag {
    let help = "Subsystems whose records are all logged, whatever the level";
    Flag::new(verbs, "log.subsystems", Kind::List, "", help)
}
