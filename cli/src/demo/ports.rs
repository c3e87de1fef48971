//! The ports of the demo: those of the documentation, as far as they are free.

use std::net::{IpAddr, TcpListener};

/// Port numbers; 0 leaves the choice to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where requests come in.
    pub(super) front: u16,
    /// Where agents come in.
    pub(super) upstream: u16,
    /// Where operators look.
    pub(super) admin: u16,
}

impl Default for Wanted {
    /// The default ports of a server.
    fn default() -> Self {
        Self { front: 8000, upstream: 8001, admin: 8002 }
    }
}

/// What can be had of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// 0 where the port that was wanted is taken.
    pub(super) ports: Wanted,
}

impl Given {
    /// Any ports.
    pub(super) fn none() -> Self {
        Self { ports: Wanted { front: 0, upstream: 0, admin: 0 } }
    }

    /// None of the wanted ports is had.
    pub(super) fn is_none(self) -> bool {
        self == Self::none()
    }

    /// The wanted ports that are taken.
    pub(super) fn taken(self) -> Vec<u16> {
        let wanted = Wanted::default();
        let pairs = [
            (wanted.front, self.ports.front),
            (wanted.upstream, self.ports.upstream),
            (wanted.admin, self.ports.admin),
        ];
        pairs.iter().filter(|(_, given)| *given == 0).map(|(wanted, _)| *wanted).collect()
    }
}

/// Looks which of the ports are free.
pub(super) fn free(host: IpAddr, wanted: Wanted) -> Given {
    // A listener that never accepted anything leaves nothing behind.
    let free = |port| if TcpListener::bind((host, port)).is_ok() { port } else { 0 };
    Given {
        ports: Wanted {
            front: free(wanted.front),
            upstream: free(wanted.upstream),
            admin: free(wanted.admin),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_taken_port_is_found_and_named() {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let taken = TcpListener::bind((host, 0)).expect("a free port");
        let port = taken.local_addr().expect("its address").port();
        let given = free(host, Wanted { upstream: port, ..Given::none().ports });
        assert_eq!(given.ports.upstream, 0);
        assert_eq!(Given::none().taken(), [8000, 8001, 8002]);
        let some = Given { ports: Wanted { admin: 0, ..Wanted::default() } };
        assert_eq!(some.taken(), [8002]);
        assert!(!some.is_none());
    }
}
