//! Two tunnels joined by their chunks and one clock.
