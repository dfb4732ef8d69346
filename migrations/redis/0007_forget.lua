#!lua
-- Deletes everything about a subject but its events, and appends the event that tells of it.
--
-- KEYS  1     standings in force
--       2     event stream of the partition
--       3     subjects by when they were last seen
--       4     news of profiles
--       5..   keys to delete
-- ARGV  1     subject
--       2     about how many events are kept
--       3     the event, JSON
--
-- Reply: how many keys there were.
--
-- Example: a subject with state and two sorted sets: 3; again: 0 (and a second event).

if #KEYS < 5 or #ARGV ~= 3 then
  return redis.error_reply("KEYWARD forget wants at least 5 keys and 3 arguments")
end
redis.call("XADD", KEYS[2], "MAXLEN", "~", ARGV[2], "*", "e", ARGV[3])
redis.call("ZREM", KEYS[1], ARGV[1])
redis.call("ZREM", KEYS[3], ARGV[1])
redis.call("ZREM", KEYS[4], ARGV[1])
return redis.call("DEL", unpack(KEYS, 5))
