//! What callers see while Redis is gone, comes back, has forgotten, or has no room.

mod batches;
mod budgets;
mod clock;
mod crowded;
mod forgotten;
mod gone;
mod killed;
mod lost_answers;
mod paused;
mod process;
mod reservations;
mod rights;
mod stopped;
mod troubled;
