//! What callers see while Redis is gone, comes back, has forgotten, or has no room.

mod budgets;
mod clock;
mod forgotten;
mod killed;
mod lost_answers;
mod paused;
mod process;
mod reservations;
mod troubled;
