//! Files that a running program reads again.

use super::text::{Kind, family, sample};

/// Appends how often files were read again and how often what was new was refused, and whether all that was read last is
/// in effect.
pub fn render_reloads((loaded, refused): (u64, u64), is_current: bool, text: &mut String) {
    let name = "piko_reload_current";
    let help =
        "1 while all files that were read last are in effect, 0 from a refusal until the mistake is mended";
    family(text, Kind::Gauge, name, help);
    sample(text, name, &[], u64::from(is_current).into());
    let name = "piko_reloads_total";
    family(text, Kind::Counter, name, "Files that were read again while running, by outcome");
    sample(text, name, &[("outcome", "loaded")], loaded.into());
    sample(text, name, &[("outcome", "refused")], refused.into());
}

#[cfg(test)]
mod tests {
    use super::render_reloads;

    #[test]
    fn both_outcomes_are_always_there() {
        let mut text = String::new();
        render_reloads((2, 1), false, &mut text);
        for line in [
            "piko_reload_current 0",
            "piko_reloads_total{outcome=\"loaded\"} 2",
            "piko_reloads_total{outcome=\"refused\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
