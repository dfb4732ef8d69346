#!lua
-- Writes or deletes a document, counts the revision up and appends the event that tells of it.
--
-- KEYS  1  documents: hash, field "kind/name" = JSON, field "#" = revision
--       2  event stream of partition 0
-- ARGV  1  field
--       2  JSON; empty: delete
--       3  about how many events are kept
--       4  the event, JSON
--
-- Reply: 1 if the document was there before, else 0.
--
-- Example: writing "policy/current" on an empty hash replies 0 and sets "#" to 1; deleting it then replies 1
-- and sets "#" to 2.

if #KEYS ~= 2 or #ARGV ~= 4 then
  return redis.error_reply("KEYWARD document wants 2 keys and 4 arguments")
end
local there = redis.call("HEXISTS", KEYS[1], ARGV[1])
if ARGV[2] == "" then
  redis.call("HDEL", KEYS[1], ARGV[1])
else
  redis.call("HSET", KEYS[1], ARGV[1], ARGV[2])
end
redis.call("HINCRBY", KEYS[1], "#", 1)
redis.call("XADD", KEYS[2], "MAXLEN", "~", ARGV[3], "*", "e", ARGV[4])
return there
