//! What a program says of a new configuration.

use piko_config::reload::Reloaded;

/// Which flags have new values, by name: those that count, those that let everybody in, and those that wait.
pub fn reloaded(reloaded: &Reloaded) {
    let Reloaded { applied, opened, waiting, .. } = reloaded;
    if !applied.is_empty() {
        tracing::info!(target: "main", flags = applied.join(", "), "new values count");
    }
    if !opened.is_empty() {
        let flags = opened.join(", ");
        tracing::warn!(target: "main", flags, "what kept others out is gone: everybody is let in from here on");
    }
    if !waiting.is_empty() {
        let flags = waiting.join(", ");
        tracing::warn!(target: "main", flags, "new values that count after a restart only");
    }
}
