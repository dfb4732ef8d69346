//! Forwarding with outlets that do as they are told, over the embedded store in memory.
