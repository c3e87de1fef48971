//! Which tunnel or node serves an endpoint. Plain data; time and chance are arguments.
//!
//! A [`Router`] maps endpoint ids to the tunnels of this process and to the other nodes that advertise
//! the endpoint. [`Router::select`] reads only, so one table behind a reader-writer lock serves all
//! threads; what changes with every request (requests under way, suspicion) lives in atomics of the
//! word size inside the entries, and a [`Pick`] reaches its entry without the table. Changes touch one entry.
//!
//! # Who is chosen
//!
//! First those that nothing speaks against, then those that have taken several requests since their last answer (9 for
//! a local tunnel, 4 per listener for a node), then nodes that are draining, then what is suspected, then what is set
//! aside. Among those:
//!
//! * Local tunnels compete by requests under way, in turn when equal.
//! * Other nodes are drawn by weight, which is their number of listeners: two draws, and the one with fewer
//!   requests under way per listener wins.
//! * [`Preference::Local`] takes the local tunnel unless it has clearly more requests under way than the node
//!   has per listener. [`Preference::Even`] draws among local tunnels and other nodes alike; of two draws
//!   the second wins where it is clearly less busy and has not had many more requests of late, or has had fewer.
//!
//! Go Piko takes local tunnels first, in turn, and other nodes only on the first hop; the latter holds here
//! without exception.
//!
//! # Whom to distrust
//!
//! * **Suspected**: a connection that broke or was refused, a node that lacks the endpoint, an agent whose
//!   service is down (it says so, or what it has taken ends before a byte came, see [`Probation`]): for one second. An upstream that has taken several requests and answered none for a
//!   quarter of a second is treated the same while that lasts, apart from one request after 10 s, the next
//!   after 30 and each further one after 60; of a node this holds for all endpoints together.
//! * **Set aside**: after five failures in a row, time-outs included, for 10 s. Then one request tries it; if
//!   that fails too, it is set aside for twice as long, up to 60 s.
//!
//! Neither keeps a request from the only upstream that there is.
//!
//! # When nobody is left
//!
//! [`Vacancies`] says which requests may wait for a moment: those for an endpoint that lost its last upstream a
//! moment ago, for the news of its next one is probably on the way.

mod balance;
mod entry;
mod key;
mod load;
mod pick;
mod router;
mod vacancy;

pub use pick::{Fault, Pick, Probation};
pub use router::{Advert, Elsewhere, Hop, Preference, Route, Router};
pub use vacancy::{HOLD, Vacancies};

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod probation_tests;
#[cfg(test)]
mod tests;
