#!lua
-- Writes a profile if nobody else did since it was read, and notes when its subject was last seen.
--
-- KEYS  1  profile: 8 bytes counter (a double), then the packed profile
--       2  subjects of the partition by when they were last seen, a sorted set
-- ARGV  1  the counter as read, 8 bytes; empty: there was no profile
--       2  the new value, counter included
--       3  how long it is kept, ms
--       4  the subject
--       5  when it was last seen, ms
--       6  subjects that were last seen before this are forgotten there, ms
--
-- Reply: 1 if written, 0 if somebody else was faster.
--
-- Example: on no profile, ARGV[1] = "" writes and replies 1; the same call again replies 0.

if #KEYS ~= 2 or #ARGV ~= 6 then
  return redis.error_reply("KEYWARD profile wants 2 keys and 6 arguments")
end
if redis.call("GETRANGE", KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
redis.call("ZADD", KEYS[2], ARGV[5], ARGV[4])
redis.call("ZREMRANGEBYSCORE", KEYS[2], "-inf", "(" .. ARGV[6])
return 1
