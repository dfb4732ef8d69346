//! The gateway over HTTP, before a provider of our own: money, bytes, endings, refusals.

mod bytes;
mod cache;
mod canary;
mod endings;
mod fallback;
mod gone;
mod killed;
mod media;
mod money;
mod odd;
mod refusals;
mod running;
mod scene;
mod sdk;
mod secrets;
mod spared;
mod surfaces;
