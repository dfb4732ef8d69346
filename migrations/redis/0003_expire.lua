#!lua
-- Takes a standing that ran out off the list of those in force and, for a ban, says so in the log: once,
-- whoever asks first.
--
-- KEYS  1  state (layout: 0001_observe.lua)
--       2  standings in force
--       3  event stream of the partition
-- ARGV  1  subject
--       2  its score in the list as read before
--       3  the version of its standing as read before, one double; empty: there was no state
--       4  about how many events are kept
--       5  the event, JSON; empty: none
--
-- Reply: 1 if this call took it off, 0 if it was gone or changed.
--
-- Example: key:a banned until 1700000000000, read with that score and version 3: 1; the same call again: 0.

if #KEYS ~= 3 or #ARGV ~= 5 then
  return redis.error_reply("KEYWARD expire wants 3 keys and 5 arguments")
end
local score = redis.call("ZSCORE", KEYS[2], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
if redis.call("GETRANGE", KEYS[1], 0, 7) ~= ARGV[3] then return 0 end
if ARGV[5] ~= "" then
  redis.call("XADD", KEYS[3], "MAXLEN", "~", ARGV[4], "*", "e", ARGV[5])
end
redis.call("ZREM", KEYS[2], ARGV[1])
return 1
