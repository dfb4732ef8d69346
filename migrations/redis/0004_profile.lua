#!lua
-- Writes a profile if nobody else did since it was read.
--
-- KEYS  1  profile: 8 bytes counter (a double), then the packed profile
-- ARGV  1  the counter as read, 8 bytes; empty: there was no profile
--       2  the new value, counter included
--       3  how long it is kept, ms
--
-- Reply: 1 if written, 0 if somebody else was faster.
--
-- Example: on no profile, ARGV[1] = "" writes and replies 1; the same call again replies 0.

if #KEYS ~= 1 or #ARGV ~= 3 then
  return redis.error_reply("KEYWARD profile wants 1 key and 3 arguments")
end
if redis.call("GETRANGE", KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
return 1
