//! Replies as what they should be.

use redis::{FromRedisValue, Value};

use super::{RedisStore, error::unreadable_because, link::Reply};
use crate::store::StoreError;

impl RedisStore {
    /// The reply to one command of several; its error is that of the command.
    pub(super) fn read<T: FromRedisValue>(&self, reply: Reply) -> Result<T, StoreError> {
        read_value(reply.map_err(|error| self.link.translate(&error))?)
    }
}

/// A value of the server's as a `T`.
///
/// # Errors
/// [`StoreError::Incompatible`] when it is none.
pub(super) fn read_value<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    redis::from_redis_value(value).map_err(unreadable_because("a reply"))
}
