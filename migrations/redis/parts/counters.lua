-- Counters: amounts that each count until some moment. A counter is a string of little-endian doubles: what counted when
-- it was written, then pairs (until, amount) in order of time. `now` is set by whoever includes this.

-- What of a counter counts now, and where its pairs that do begin.
local function live(raw)
  if not raw then return 0, 9 end
  local used, at, size = unpacked("<d", raw), 9, #raw
  while at < size do
    local ends, amount = unpacked("<dd", raw, at)
    if ends > now then break end
    used, at = used - amount, at + 16
  end
  return used, at
end

-- When an amount would fit, if nobody else came; -1: never.
local function fits_at(raw, used, at, amount, most)
  if amount > most then return -1 end
  local size, when = raw and #raw or 0, now
  while used + amount > most do
    if at >= size then return -1 end
    local ends, part = unpacked("<dd", raw, at)
    used, at, when = used - part, at + 16, ends
  end
  return when
end

-- Where the pair that ends then is, and its amount; else where it would be.
local function place(pairs_, ends)
  local at = #pairs_ + 1
  while at > 1 do
    local other, amount = unpacked("<dd", pairs_, at - 16)
    if other == ends then return at - 16, amount end
    if other < ends then break end
    at = at - 16
  end
  return at
end

-- Gives an amount back that counted until then (nothing, if that has ended), adds another, and writes the counter.
-- Returns what counts from here on, when the first of it ends (-1: nothing counts), and the counter as it is then.
local function change(key, raw, back, back_ends, amount, ends)
  local used, from = live(raw)
  local rest = raw and raw:sub(from) or ""
  if back > 0 then
    local at, there = place(rest, back_ends)
    if there then
      local gone = math.min(there, back)
      local left = there > gone and pack("<dd", back_ends, there - gone) or ""
      used, rest = used - gone, rest:sub(1, at - 1) .. left .. rest:sub(at + 16)
    end
  end
  if amount > 0 and ends > now then
    local at, there = place(rest, ends)
    local behind = there and at + 16 or at
    used = used + amount
    rest = rest:sub(1, at - 1) .. pack("<dd", ends, (there or 0) + amount) .. rest:sub(behind)
  end
  if rest == "" then
    if raw then call("DEL", key) end
    return 0, -1, false
  end
  local last, written = unpacked("<d", rest, #rest - 15), pack("<d", used) .. rest
  call("SET", key, written, "PX", math.ceil(last - now) + 10800000)
  return used, (unpacked("<d", rest)), written
end

-- Which of n counters a charge does not fit, as a list. `charges`: 5 doubles per counter, of which the first are amount
-- and most.
local function exceeded(n, raws, charges)
  local list = {}
  for i = 1, n do
    local amount, most = unpacked("<dd", charges, i * 40 - 39)
    if live(raws[i]) + amount > most then list[#list + 1] = i end
  end
  return list
end

-- Begins the blocks of the limits that a charge does not fit: a counter that has a length of block as its fifth double
-- belongs to the one before it. Where that is exceeded, and it holds nothing, it holds 1 for so many milliseconds; then
-- it is in `list`, too, and in `raws` as it is.
local function begin_blocks(n, keys, raws, charges, list)
  local over = {}
  for _, i in ipairs(list) do over[i] = true end
  for i = 2, n do
    local length = unpacked("<d", charges, i * 40 - 7)
    if length > 0 and over[i - 1] and not over[i] then
      local _, _, written = change(keys[i], raws[i], 0, 0, 1, now + length)
      raws[i], list[#list + 1] = written, i
    end
  end
end

-- Of these counters the one that keeps the charge out longest, or the first that always does, and when it fits (-1:
-- never); 0 when there is none.
local function refusal(list, raws, charges)
  local refused, retry = 0, 0
  for _, i in ipairs(list) do
    local amount, most = unpacked("<dd", charges, i * 40 - 39)
    local used, from = live(raws[i])
    local at = fits_at(raws[i], used, from, amount, most)
    if at < 0 then return i, -1 end
    if refused == 0 or at > retry then refused, retry = i, at end
  end
  return refused, retry
end

-- Charges n counters (amount, most, until, amount to give back, until when that counted), or leaves them as they are;
-- `raws` is then as they are. Returns, packed, what counts of each and when the first of it ends (-1: nothing counts).
local function counts(n, keys, raws, charges, charged)
  local all, changed = "", {}
  for i = 1, n do
    local used, first
    if charged then
      local amount, _, ends, back, back_ends = unpacked("<ddddd", charges, i * 40 - 39)
      -- One that is named twice is changed twice.
      local raw = changed[keys[i]]
      if raw == nil then raw = raws[i] end
      used, first, raws[i] = change(keys[i], raw, back, back_ends, amount, ends)
      changed[keys[i]] = raws[i]
    else
      local from
      used, from = live(raws[i])
      first = raws[i] and from < #raws[i] and unpacked("<d", raws[i], from) or -1
    end
    all = all .. pack("<dd", used, first)
  end
  return all
end
