#!lua
-- Changes counters, and asks their limits where that is wanted: before, then all are changed, or none; or behind, as a
-- report does, which counts whatever they say.
--
-- KEYS  counters (parts/counters.lua); with a third argument, a mark of what is done behind them
-- ARGV  1     little-endian doubles: now, whether limits are asked (0: no, 1: before, 2: behind), whether anything is
--             changed (0/1)
--       2     5 doubles per counter: amount, most, until, amount to give back, until when that counted; of a block 0 and
--             its length (with limits asked)
--       3     for how long the mark stands, ms: where it stands already, nothing is changed and no block begins
--
-- Reply: doubles as the second of 0010_charge.lua.
--
-- Example: with limits asked, two counters of which one is full are both left as they are, and the reply names the full
-- one; without, both are changed. With limits asked, the block of the full one begins; behind, also that of one that is
-- beyond its limit by what was changed.

if #KEYS < 1 or #ARGV < 2 or #ARGV > 3 then
  return redis.error_reply("KEYWARD counters wants keys and 2 or 3 arguments")
end

local pack, unpacked, call = struct.pack, struct.unpack, redis.call
local now, asked, changes = unpacked("<ddd", ARGV[1])
-- @include parts/counters.lua

local keys, list, charges = {unpack(KEYS)}, {}, ARGV[2]
if ARGV[3] then
  local mark = table.remove(keys)
  if not call("SET", mark, "", "NX", "PX", ARGV[3]) then asked, changes = 0, 0 end
end
local KEYS = keys
local raws = call("MGET", unpack(KEYS))
if asked == 1 then
  list = exceeded(#KEYS, raws, charges)
  begin_blocks(#KEYS, KEYS, raws, charges, list)
end
local all = counts(#KEYS, KEYS, raws, charges, changes == 1 and #list == 0)
if asked == 2 then
  -- What was used counts by now: nothing more is asked for.
  local parts = {}
  for i = 1, #KEYS do parts[i] = pack("<d", 0) .. charges:sub(i * 40 - 31, i * 40) end
  charges = table.concat(parts)
  list = exceeded(#KEYS, raws, charges)
  begin_blocks(#KEYS, KEYS, raws, charges, list)
  all = counts(#KEYS, KEYS, raws, charges, false)
end
return pack("<dd", refusal(list, raws, charges)) .. all
