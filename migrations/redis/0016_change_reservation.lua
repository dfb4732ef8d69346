#!lua
-- Has a reservation end later, or notes that its request has left for the provider; with neither it is only shown.
--
-- KEYS  1, 2  reservations of the partition (parts/reservations.lua): hash and sorted set
-- ARGV  1     3 little-endian doubles: now, when it is to end (never earlier than it did), whether its request has left
--       2     id of the reservation
--
-- Reply: 1 and what the hash held of it before; 0 and the same where it had ended; 0 and nothing where there is none.
-- Counters in this slot hold it as Reservation::holds_until of src/domain/reservation.rs has it.
--
-- Example: one that ends at 1700000060000 and is to end at 1700000090000 is shown as ended from then on, and what its
-- counters hold counts until then.

if #KEYS ~= 2 or #ARGV ~= 2 then
  return redis.error_reply("KEYWARD change_reservation wants 2 keys and 2 arguments")
end

local pack, unpacked, call = struct.pack, struct.unpack, redis.call
local now, wanted, dispatched = unpacked("<ddd", ARGV[1])
-- @include parts/counters.lua
-- @include parts/reservations.lua

local content = call("HGET", KEYS[1], ARGV[2])
if not content then return {0, ""} end
local stage, ends, held = opened(content)
if stage == CORRECTED then return {0, ""} end
if stage > DISPATCHED or ends <= now then return {0, content} end
local to_stage, to = dispatched == 1 and DISPATCHED or stage, math.max(ends, wanted)
if to_stage ~= stage or to ~= ends then
  for i, one in ipairs(held.counters) do
    local key, was, will = counter_at(held, i), holds_until(stage, ends, one), holds_until(to_stage, to, one)
    if key and was ~= will then change(key, call("GET", key), one.amount, was, one.amount, will) end
  end
  call("HSET", KEYS[1], ARGV[2], moved(content, to_stage, to))
  call("ZADD", KEYS[2], to, ARGV[2])
end
return {1, content}
