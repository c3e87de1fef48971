//! What is made of a proxy address that is a name.

use super::*;
use crate::node::Node;
use crate::nodes::Follow;
use piko_core::route::Preference;

/// Notes where nodes are up, and whether they take links.
#[derive(Default)]
struct Ups(Mutex<Vec<SocketAddr>>, Mutex<Vec<bool>>);

impl Follow for Ups {
    fn up(&self, _: &NodeId, proxy: SocketAddr) {
        self.0.lock().unwrap().push(proxy);
    }

    fn down(&self, _: &NodeId) {}

    fn forget(&self, _: &NodeId) {}

    fn takes_links(&self, _: &NodeId, takes: bool) {
        self.1.lock().unwrap().push(takes);
    }
}

/// Nothing here depends on it.
fn clock() -> piko_driver::Clock {
    piko_runtime_tokio::block_on(|rt| async move { piko_driver::Clock::of(&rt) })
}

fn membership() -> (Membership, Arc<Ups>) {
    let ups = Arc::new(Ups::default());
    let mut membership = Membership::new(Peers::new(Node::new(Preference::Local, clock()), ups.clone()));
    assert!(membership.event(GossipEvent::Joined(NodeId::new("b"))).is_none());
    set(&mut membership, ADMIN_ADDR, "10.0.0.1:8002");
    (membership, ups)
}

fn set(membership: &mut Membership, key: &str, value: &str) -> Option<Lookup> {
    let (node, key, value) = (NodeId::new("b"), Key::from(key), Value::from(value));
    membership.event(GossipEvent::Set { node, key, value, internal: false })
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 8000))
}

#[test]
fn a_name_is_looked_up_again_and_follows_its_node_to_another_address() {
    let (mut membership, ups) = membership();
    let first = set(&mut membership, PROXY_ADDR, "b.piko:8000").expect("a lookup");
    assert_eq!(membership.found(&first, Ok(vec![addr(1)])), Some(RESOLVE_FRESH));
    assert_eq!(membership.found(&first, Ok(vec![addr(2)])), Some(RESOLVE_FRESH));
    assert_eq!(membership.found(&first, Ok(vec![addr(1), addr(2)])), Some(RESOLVE_FRESH));
    assert_eq!(*ups.0.lock().unwrap(), [addr(1), addr(2), addr(2)]);

    // The node restarts and says the same again: at once, and the earlier lookup ends.
    let second = set(&mut membership, PROXY_ADDR, "b.piko:8000").expect("a lookup");
    assert_eq!(membership.found(&first, Ok(vec![addr(2)])), None);
    assert_eq!(membership.found(&second, Err(io::ErrorKind::NotFound.into())), Some(RESOLVE_AGAIN));
    assert_eq!(membership.found(&second, Ok(vec![addr(3)])), Some(RESOLVE_FRESH));
    assert_eq!(ups.0.lock().unwrap().last(), Some(&addr(3)));
}

#[test]
fn links_are_taken_by_who_says_so_in_a_key_of_ours() {
    let (mut membership, ups) = membership();
    let (node, key, value) = (NodeId::new("b"), Key::from(LINKS), Value::from("1"));
    let mut set = |internal| {
        let (node, key, value) = (node.clone(), key.clone(), value.clone());
        membership.event(GossipEvent::Set { node, key, value, internal })
    };
    assert_eq!((set(false), set(true)), (None, None));
    assert_eq!(membership.event(GossipEvent::Unset { node: node.clone(), key: key.clone() }), None);
    assert_eq!(*ups.1.lock().unwrap(), [true, false]);
}

#[test]
fn lookups_end_when_the_node_says_something_else() {
    let (mut membership, _) = membership();
    let one = set(&mut membership, PROXY_ADDR, "one:8000").expect("a lookup");
    let two = set(&mut membership, PROXY_ADDR, "two:8000").expect("a lookup");
    let back = set(&mut membership, PROXY_ADDR, "one:8000").expect("a lookup");
    assert_eq!(
        (membership.found(&one, Ok(vec![addr(1)])), membership.found(&two, Ok(vec![addr(2)]))),
        (None, None)
    );
    assert_eq!(membership.found(&back, Ok(vec![addr(1)])), Some(RESOLVE_FRESH));
    assert_eq!(set(&mut membership, PROXY_ADDR, "10.0.0.9:8000"), None);
    assert_eq!(membership.found(&back, Ok(vec![addr(1)])), None);
    membership.event(GossipEvent::Expired(NodeId::new("b")));
    assert_eq!(membership.found(&back, Ok(vec![addr(1)])), None);
}
