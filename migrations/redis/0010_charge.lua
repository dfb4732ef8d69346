#!lua
-- Charges one request to a subject's windows and to counters beyond them: all, or none; a report always. In the same
-- step the request is claimed, the reservation that it names is settled, and what is charged is kept as a reservation.
--
-- KEYS  1..5  as in 0001_observe.lua
--       6, 7  reservations of the partition (parts/reservations.lua): hash and sorted set
--       8     the claim, as in 0006_claim.lua
--       9..   counters (parts/counters.lua)
-- ARGV  1, 2  as in 0001_observe.lua
--       3     5 little-endian doubles per counter: amount, most, until, 0, of a block its length (else 0)
--       4     id of the reservation to keep, empty: none; 5 its stage and end if it is not only held, and its content;
--             6 when it ends
--       7     id of the reservation to settle, or the name of the request whose charged one is corrected, empty: none; 8
--             the key that it must be of
--       9     4 little-endian doubles: who claims the request (0: nobody, 1: somebody who sends it once, else whoever has
--             that number, which no other charge has), whether a settled estimate is charged as used (0/1), the moment at which windows count a report that is told late (-1: now), for how long a request is claimed, ms
--       10    the name of the request of the reservation to keep, empty: none
--
-- The content of a reservation has `key`, `until`, `counts` (requests, tokens), and `counters`: of each the amount, until
-- when it is held and would count if used; `keys` are theirs, null where they are in another slot.
--
-- Reply: the reply of 0001_observe.lua; doubles: which counter the charge does not fit (0: none), when it would (-1:
-- never), then per counter what counts and when the first of it ends (-1: nothing counts); the claim as it was found
-- (empty: the request is charged now; "?" and the caller's own number: it was charged when it was sent before; what
-- follows then is the reservation that it settled); the reservation that was settled, as the
-- hash had it (empty: none; "-": it was given back before, or is about to be).
--
-- Example: a counter that holds 90 of 100 refuses an amount of 20 and admits one of 10; a window that refuses keeps
-- either from being charged. A report of 20 makes it 110, and is told that it does not fit. With a claim, the same again
-- is told that the claim is taken, and changes nothing. What does not fit, also a peek, begins the block of its limit.

if #KEYS < 8 or #ARGV ~= 10 then
  return redis.error_reply("KEYWARD charge wants 8 keys or more and 10 arguments")
end

local function observe(KEYS, ARGV)
-- @include 0001_observe.lua
end

-- @include parts/windows.lua
-- @include parts/corrections.lua

local pack, unpacked, call = struct.pack, struct.unpack, redis.call
local now, mode = unpacked("<d", ARGV[1]), unpacked("<d", ARGV[1], 105)
local PEEK, REPORT = 1, 2
-- @include parts/counters.lua
-- @include parts/reservations.lua

local claims, keeps, late, lasts = unpacked("<dddd", ARGV[9])
local own = {KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]}
local windows = {KEYS[2], KEYS[3], KEYS[4], KEYS[5]}
local charge, peer, amounts = ARGV[1], ARGV[2], ARGV[3]

-- A charge with other counts, or in another mode.
local function with_counts(requests, tokens, auth, missing)
  return charge:sub(1, 8) .. pack("<dddd", requests, tokens, auth, missing) .. charge:sub(41)
end
local function with_mode(other)
  return charge:sub(1, 104) .. pack("<d", other) .. charge:sub(113)
end

local repeated = ""
if claims > 0 then
  local held = call("GET", KEYS[8])
  if held and unpacked("<d", held) > now then
    repeated, mode = held:sub(9), PEEK
    charge = with_mode(PEEK)
  end
end

-- Takes the reservation that is settled: gives back what it holds, and leaves to be charged what it does not.
local function settle()
  local id = ARGV[7]
  local content, named = unpack(call("HMGET", KEYS[6], id, "=" .. id))
  local by_request = not content and named
  if by_request then id, content = named, call("HGET", KEYS[6], named) end
  if not content then return "" end
  local stage, ends, held = opened(content)
  -- One that has not ended is settled by its own id alone.
  if by_request and stage ~= CHARGED and not (stage == DISPATCHED and ends <= now) then return "" end
  -- What counts for nobody settles nothing, and leaves what was counted when its request was seen.
  if mode == PEEK and stage ~= OBSERVED then return "" end
  if held.key ~= ARGV[8] or stage == CORRECTED then return "" end
  if stage == LAPSED or stage == HELD and ends <= now then return "-" end
  if stage == OBSERVED and ends <= now then return "" end
  if stage ~= HELD and ends + ONE_DAY <= now then return "" end
  -- Where it came from was seen when it was counted, and there is no estimate.
  if stage == OBSERVED then peer, keeps = "", 0 end
  call("ZREM", KEYS[7], id)
  if stage == CHARGED then
    call("HSET", KEYS[6], id, moved(content, CORRECTED, ends))
    have_counted(KEYS[6], KEYS[7], "-", id)
  else
    call("HDEL", KEYS[6], id)
  end
  unname(KEYS[6], id, held)
  if mode == PEEK then return content end
  for i, one in ipairs(held.counters) do
    local key = counter_at(held, i)
    if key then
      local used = keeps == 1 and one.amount or 0
      change(key, call("GET", key), one.amount, holds_until(stage, ends, one), used, one.counts_until)
    end
  end
  local r, t, f, m = unpacked("<dddd", charge, 9)
  if keeps == 1 then
    r, t = held.counts.requests, held.counts.tokens
    for i = 1, #KEYS - 8 do
      amounts = amounts:sub(1, i * 40 - 40) .. pack("<d", 0) .. amounts:sub(i * 40 - 31)
    end
  end
  local back_r, back_t = held.counts.requests, held.counts.tokens
  -- One that is told late counts at its own time: what is held is given back whole.
  if late < 0 or keeps == 1 or stage == OBSERVED then
    r, t = r - back_r, t - back_t
    back_r, back_t = math.max(-r, 0), math.max(-t, 0)
  end
  if back_r > 0 or back_t > 0 then
    local raw = call("GET", KEYS[1])
    if raw then
      local state = open_state(raw)
      local spare = {back_r, back_t, 0, 0}
      for w = 1, 4 do refund(windows[w], state, w, unpacked("<d", content), spare) end
      call("SET", KEYS[1], close_state(state), "KEEPTTL")
    end
  end
  charge = with_counts(math.max(r, 0), math.max(t, 0), f, m)
  return content
end

local settled = ""
if (mode == REPORT or mode == PEEK and repeated == "") and ARGV[7] ~= "" then settled = settle() end

local counters, raws = {unpack(KEYS, 9)}, {}
if #counters > 0 then raws = call("MGET", unpack(counters)) end
local list = exceeded(#counters, raws, amounts)
if repeated == "" then begin_blocks(#counters, counters, raws, amounts, list) end
if #list > 0 and mode ~= REPORT then charge = with_mode(PEEK) end

local reply
if late >= 0 and mode == REPORT then
  local r, t, f, m = unpacked("<dddd", charge, 9)
  charge = with_counts(0, 0, 0, 0)
  local created = observe(own, {charge, ""})
  if type(created) == "table" then return created end
  local raw = call("GET", KEYS[1])
  if raw then
    local state = open_state(raw)
    charge_late(windows, state, late, {r, t, f, m})
    call("SET", KEYS[1], close_state(state), "KEEPTTL")
  end
  charge = with_mode(PEEK)
  reply = observe(own, {charge, ""})
  -- Whether it was created says the first of the two.
  if type(reply) ~= "table" and created:byte(1) % 4 >= 2 then
    reply = string.char(reply:byte(1) + 2) .. reply:sub(2)
  end
else
  reply = observe(own, {charge, peer})
end
if type(reply) == "table" then return reply end

-- Flags of the reply: 1 it fits, 4 tracked. What is not tracked has no windows to hold anything in.
local flags = reply:byte(1)
local charged = mode == REPORT or flags % 2 == 1 and #list == 0 and mode ~= PEEK
local all = counts(#counters, counters, raws, amounts, charged)
if charged and flags >= 4 and ARGV[4] ~= "" then
  call("HSET", KEYS[6], ARGV[4], reply:sub(4, 11) .. ARGV[5])
  call("ZADD", KEYS[7], ARGV[6], ARGV[4])
  if ARGV[10] ~= "" then call("HSET", KEYS[6], "=" .. ARGV[10], ARGV[4]) end
end
if charged and claims > 0 and repeated == "" then
  local kept = #settled > 1 and settled or ""
  call("SET", KEYS[8], pack("<d", now + lasts) .. "?" .. pack("<d", claims) .. kept, "PX", string.format("%d", lasts))
end
return {reply, pack("<dd", refusal(list, raws, amounts)) .. all, repeated, settled}
