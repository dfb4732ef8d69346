#!lua
-- Ends a reservation that was not settled: takes it, and what the subject's windows hold of it, unless somebody was
-- quicker.
--
-- KEYS  1..8  as in 0002_respond.lua
--       9, 10 reservations of the partition and their ends, as in 0012_reservation.lua
-- ARGV  1     id of the reservation
--       2..   as 1.. in 0002_respond.lua: no standing, one refund, no events
--
-- Reply: 1 when it was taken, 0 when it was gone.
--
-- Example: a reservation of 300 tokens that ended is ended by two instances at once: one gets 1 and the windows hold 300
-- tokens less, the other gets 0.

if #KEYS ~= 10 or #ARGV < 7 then
  return redis.error_reply("KEYWARD end_reservation wants 10 keys and at least 7 arguments")
end

local function respond(KEYS, ARGV)
-- @include 0002_respond.lua
end

redis.call("ZREM", KEYS[10], ARGV[1])
if redis.call("HDEL", KEYS[9], ARGV[1]) == 0 then return 0 end
local reply = respond({unpack(KEYS, 1, 8)}, {unpack(ARGV, 2)})
return reply.err and reply or 1
