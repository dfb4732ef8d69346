-- Reservations: how the hash of a partition keeps them, and how they end. Of each: the moment of its charge (a double);
-- once it is not as it was made, its stage and its end (doubles); then its content, JSON. The field "#" is the number of
-- the last change of usage. A field "=" and the name of a request (Reservation::request of src/domain/reservation.rs) has the id of the
-- last reservation that was made for it. Their sorted set has ids by the moment at which their stage ends (held, dispatched
-- and observed: its end; charged: a day later; lapsed: an hour later), and what usage is to count: "+" or "-" and the id by its number,
-- which is about a moment, too. Whoever includes this sets `now`, `pack`, `unpacked` and `call` before.

local HELD, DISPATCHED, CHARGED, LAPSED, CORRECTED, OBSERVED = 0, 1, 2, 3, 4, 5
local ONE_HOUR, ONE_DAY = 3600000, 86400000

-- The content of a reservation, as text.
local function content_of(bytes)
  -- No number begins with a brace.
  return bytes:byte(9) == 123 and bytes:sub(9) or bytes:sub(25)
end

-- Its stage.
local function stage_of(bytes)
  return bytes:byte(9) == 123 and HELD or (unpacked("<d", bytes, 9))
end

-- Its stage, its end, and its content.
local function opened(bytes)
  local held = cjson.decode(content_of(bytes))
  if bytes:byte(9) == 123 then return HELD, held["until"], held end
  local stage, ends = unpacked("<dd", bytes, 9)
  return stage, ends, held
end

-- The same at another stage and with another end.
local function moved(bytes, stage, ends)
  return bytes:sub(1, 8) .. pack("<dd", stage, ends) .. content_of(bytes)
end

-- Until when a counter holds its amount: Reservation::holds_until of src/domain/reservation.rs.
local function holds_until(stage, ends, one)
  return stage == HELD and math.min(one.counts_until, ends) or one.counts_until
end

-- The key of a counter that is in this slot; nil: it is elsewhere.
local function counter_at(held, i)
  local key = held.keys[i]
  if key ~= cjson.null then return key end
end

-- When its stage ends.
local function due(stage, ends)
  if stage == CHARGED then return ends + ONE_DAY end
  if stage == LAPSED then return ends + ONE_HOUR end
  return ends
end

-- Has usage count the estimate ("+"), or take it away ("-"): later than all that it was to count before.
local function have_counted(reservations, list, sign, id)
  local last = tonumber(call("HGET", reservations, "#") or "0")
  local number = string.format("%.0f", math.max(last + 1, now))
  call("HSET", reservations, "#", number)
  call("ZADD", list, number, sign .. id)
end

-- Takes the name of the request away that leads to a reservation.
local function unname(reservations, id, held)
  local field = held.request and "=" .. held.request
  if field and call("HGET", reservations, field) == id then call("HDEL", reservations, field) end
end
