//! Networks: an address and how many of its leading bits count.

use std::fmt;
use std::net::IpAddr;

/// A network such as `10.0.0.0/8` or `2001:db8::/32` (RFC 4632, RFC 4291 2.3); an address alone is one of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNet {
    ip: IpAddr,
    bits: u8,
}

impl IpNet {
    /// Reads both forms. `None` for other text, for more bits than an address has, and where bits are set that do not
    /// count, which is no network and most likely a slip.
    pub fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = match text.split_once('/') {
            None => (text, None),
            Some((ip, bits)) => (ip, Some(bits)),
        };
        let ip: IpAddr = ip.parse().ok()?;
        let all = if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => all,
            Some(bits) if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) => return None,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= all)?,
        };
        let net = Self { ip, bits };
        let (value, _) = number(ip);
        (value & net.mask() == value).then_some(net)
    }

    /// The bits that count, as high ones of the 32 or 128 of the family.
    fn mask(&self) -> u128 {
        let (_, all) = number(self.ip);
        let low = all - u32::from(self.bits);
        let ones = if all == 128 { u128::MAX } else { u128::from(u32::MAX) };
        ones & u128::MAX.checked_shl(low).unwrap_or(0)
    }

    /// Whether the address is in it. One of version 4 that is written as one of version 6 counts as what it is.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.ip.is_ipv4() && number(ip).0 & self.mask() == number(self.ip).0
    }
}

/// An address as a number, and how many bits that has.
fn number(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (ip.into(), 128),
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(net: &str, ip: &str) -> bool {
        IpNet::parse(net).expect(net).contains(ip.parse().expect(ip))
    }

    #[test]
    fn addresses_are_in_networks() {
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && !has("0.0.0.0/0", "::1"));
        assert!(has("192.0.2.1", "192.0.2.1") && !has("192.0.2.1/32", "192.0.2.2"));
        assert!(has("10.0.0.0/8", "::ffff:10.1.2.3") && !has("::/0", "::ffff:10.1.2.3"));
        assert!(has("2001:db8::/32", "2001:db8:1::1") && !has("2001:db8::/32", "2001:db9::1"));
        assert!(has("::/0", "2001:db8::1") && has("::1", "::1"));
        assert!(has("192.0.2.128/25", "192.0.2.200") && !has("192.0.2.128/25", "192.0.2.100"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.1/8",
            "::/129",
            "a/8",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(IpNet::parse(text), None, "{text}");
        }
        assert_eq!(IpNet::parse("10.0.0.0/8").expect("a network").to_string(), "10.0.0.0/8");
    }
}
