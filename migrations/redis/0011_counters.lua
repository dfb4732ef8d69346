#!lua
-- Changes counters, and asks their limits first where that is wanted: then all are changed, or none.
--
-- KEYS  counters (parts/counters.lua)
-- ARGV  1     little-endian doubles: now, whether limits are asked (0/1), whether anything is changed (0/1)
--       2     5 doubles per counter: amount, most, until, amount to give back, until when that counted; of a block 0 and
--             its length (with limits asked)
--
-- Reply: doubles as the second of 0010_charge.lua.
--
-- Example: with limits asked, two counters of which one is full are both left as they are, and the reply names the full
-- one; without, both are changed. With limits asked, the block of the full one begins.

if #KEYS < 1 or #ARGV ~= 2 then
  return redis.error_reply("KEYWARD counters wants keys and 2 arguments")
end

local pack, unpacked, call = struct.pack, struct.unpack, redis.call
local now, asked, changes = unpacked("<ddd", ARGV[1])
-- @include parts/counters.lua

local raws, refused, retry = call("MGET", unpack(KEYS)), 0, 0
local list = {}
if asked == 1 then
  list = exceeded(#KEYS, raws, ARGV[2])
  begin_blocks(#KEYS, KEYS, raws, ARGV[2], list)
end
local all = counts(#KEYS, KEYS, raws, ARGV[2], changes == 1 and #list == 0)
return pack("<dd", refusal(list, raws, ARGV[2])) .. all
