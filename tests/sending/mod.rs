//! The send path from dispatch to the sink, and what the rows say afterwards.

mod outcomes;
