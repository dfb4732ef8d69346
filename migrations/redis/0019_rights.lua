#!lua
-- Which commands the user that calls may not use on the keys of this keyspace.
--
-- KEYS  1..5  scratch keys in one slot: a string, a hash, a set, a sorted set and a stream; deleted again
-- ARGV  1     for how long they may stay if they cannot be deleted, ms
--       2     the command that pages through a hash
--
-- Reply: the names of the commands that are refused, as a list.
--
-- Example: a user with all that docs/operations.md names: {}; the same without XADD: {"XADD"}.

if #KEYS ~= 5 or #ARGV ~= 2 then
  return redis.error_reply("KEYWARD rights wants 5 keys and 2 arguments")
end
local text, hash, set, sorted, stream = unpack(KEYS)
local calls = {
  {"SET", text, "a"}, {"GET", text}, {"SETRANGE", text, 0, "b"}, {"GETRANGE", text, 0, 0}, {"MGET", text},
  {"EXISTS", text}, {"PEXPIRE", text, ARGV[1]},
  {"HSET", hash, "a", "1"}, {"HSETNX", hash, "a", "1"}, {"HGET", hash, "a"}, {"HMGET", hash, "a"}, {"HGETALL", hash},
  {"HINCRBY", hash, "a", 1}, {"HEXISTS", hash, "a"}, {"HKEYS", hash}, {"HLEN", hash}, {ARGV[2], hash, 0},
  {"HDEL", hash, "a"},
  {"SADD", set, "a"}, {"SMEMBERS", set}, {"SREM", set, "a"},
  {"ZADD", sorted, 1, "a"}, {"ZSCORE", sorted, "a"}, {"ZRANGE", sorted, 0, 0}, {"ZRANGEBYSCORE", sorted, 0, 0},
  {"ZREVRANGEBYSCORE", sorted, 0, 0}, {"ZREMRANGEBYRANK", sorted, 5, 5}, {"ZREMRANGEBYSCORE", sorted, 5, 5}, {"ZREM", sorted, "a"},
  {"XADD", stream, "*", "a", "b"}, {"XRANGE", stream, "-", "+", "COUNT", 1}, {"XREVRANGE", stream, "+", "-", "COUNT", 1},
  {"XTRIM", stream, "MAXLEN", 0},
  {"DEL", text, hash, set, sorted, stream},
}
-- How servers say it: up to 7.0, from 7.2 on, and outside of scripts.
local words = {"The user executing the script can't", "ACL failure in script", "NOPERM"}
local function is_refused(reply)
  if type(reply) ~= "table" or not reply.err then return false end
  for _, word in ipairs(words) do
    if reply.err:find(word, 1, true) then return true end
  end
  return false
end

local refused = {}
for _, call in ipairs(calls) do
  if is_refused(redis.pcall(unpack(call))) then refused[#refused + 1] = call[1] end
end
return refused
