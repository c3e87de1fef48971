//! For people: columns.

use super::model::{ClusterNode, Counts, GossipNode, GossipState, ListedNode, Upstream};

/// Columns as wide as their widest cell, two blanks between them.
fn table<const N: usize>(titles: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut all = vec![titles.map(str::to_owned)];
    // Bytes that a terminal would obey are shown, not sent.
    all.extend(rows.into_iter().map(|row| row.map(|cell| shown(&cell))));
    let widths: [usize; N] =
        std::array::from_fn(|at| all.iter().map(|row| row[at].chars().count()).max().unwrap_or_default());
    let mut out = String::new();
    for row in &all {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn shown(cell: &str) -> String {
    let mut out = String::with_capacity(cell.len());
    for c in cell.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

pub(super) fn cluster_nodes(nodes: &[ListedNode]) -> String {
    let row = |node: &ListedNode| {
        let [endpoints, upstreams] = [node.endpoints, node.upstreams].map(|count| count.to_string());
        let (proxy, admin) = (node.proxy_addr.clone(), node.admin_addr.clone());
        [node.id.clone(), node.status.clone(), proxy, admin, endpoints, upstreams]
    };
    table(["ID", "STATUS", "PROXY", "ADMIN", "ENDPOINTS", "UPSTREAMS"], nodes.iter().map(row))
}

pub(super) fn cluster_node(node: &ClusterNode) -> String {
    let (proxy, admin) = (node.proxy_addr.clone(), node.admin_addr.clone());
    let head =
        table(["ID", "STATUS", "PROXY", "ADMIN"], [[node.id.clone(), node.status.clone(), proxy, admin]]);
    let none = Counts::new();
    format!("{head}\n{}", counts(node.endpoints.as_ref().unwrap_or(&none)))
}

pub(super) fn counts(counts: &Counts) -> String {
    table(["ENDPOINT", "UPSTREAMS"], counts.iter().map(|(id, count)| [id.clone(), count.to_string()]))
}

pub(super) fn gossip_nodes(nodes: &[GossipNode]) -> String {
    let row = |node: &GossipNode| {
        let [left, unreachable] = [node.left, node.unreachable].map(|truth| truth.to_string());
        let version = node.version.to_string();
        [node.id.clone(), node.addr.clone(), version, left, unreachable, node.expiry.clone()]
    };
    table(["ID", "ADDR", "VERSION", "LEFT", "UNREACHABLE", "EXPIRY"], nodes.iter().map(row))
}

pub(super) fn gossip_node(state: &GossipState) -> String {
    let entries = state.entries.iter().flatten().map(|entry| {
        let [internal, deleted] = [entry.internal, entry.deleted].map(|truth| truth.to_string());
        [entry.key.clone(), entry.value.clone(), entry.version.to_string(), internal, deleted]
    });
    let entries = table(["KEY", "VALUE", "VERSION", "INTERNAL", "DELETED"], entries);
    format!("{}\n{entries}", gossip_nodes(std::slice::from_ref(&state.node)))
}

pub(super) fn upstreams(upstreams: &[Upstream]) -> String {
    let row = |upstream: &Upstream| {
        let Upstream { id, endpoint, addr, since, version, draining, in_flight, .. } = upstream;
        let (endpoint, addr, since, version) =
            (endpoint.clone(), addr.clone(), since.clone(), version.clone());
        [id.to_string(), endpoint, addr, since, version, draining.to_string(), in_flight.to_string()]
    };
    let titles = ["ID", "ENDPOINT", "ADDR", "SINCE", "VERSION", "DRAINING", "IN FLIGHT"];
    table(titles, upstreams.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let counts = Counts::from([("a".to_owned(), 12), ("long\x1b name".to_owned(), 1)]);
        assert_eq!(
            super::counts(&counts),
            "ENDPOINT         UPSTREAMS\na                12\nlong\\u{1b} name  1\n"
        );
    }
}
