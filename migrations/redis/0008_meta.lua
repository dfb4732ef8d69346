#!lua
-- Notes facts about the keyspace that are fixed by whoever comes first, and tells which are in force.
--
-- KEYS  1    meta: hash
-- ARGV  1..  field, value, field, value, ...
--
-- Reply: the values in force, in the order of the fields.
--
-- Example: {"partitions", "32"} on an empty hash: {"32"}; then {"partitions", "64"}: {"32"}.

if #KEYS ~= 1 or #ARGV % 2 ~= 0 then
  return redis.error_reply("KEYWARD meta wants 1 key and pairs of arguments")
end
local reply = {}
for i = 1, #ARGV, 2 do
  redis.call("HSETNX", KEYS[1], ARGV[i], ARGV[i + 1])
  reply[#reply + 1] = redis.call("HGET", KEYS[1], ARGV[i])
end
return reply
