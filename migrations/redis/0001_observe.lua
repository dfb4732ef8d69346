#!lua
-- Charges one request to one subject, if every window admits it or it is a report, and tells all there is to know of it.
-- It counts and compares; what follows from the numbers is decided elsewhere.
--
-- KEYS  1     state: one packed string (layout below)
--       2..5  closed buckets of the 1min, 5min, 1hour, 24hour window: sorted sets,
--             score = bucket index, member = "index:requests:tokens:auth_failures:not_found"
-- ARGV  1     17 little-endian doubles: now, requests, tokens, auth_failures, not_found,
--             4 token limits, 4 request limits (shortest window first, -1: none),
--             mode (0 admit, 1 peek, 2 report), peer capacity, may create (0/1), whether a standing that was only
--             observed counts (0/1)
--       2     the peer: 8 bytes id and 24 bytes data; empty: none
--
-- State, all numbers little-endian doubles; laid out so that what most calls change is one range of 136 bytes:
--    1..96   standing: version, state, since, until, share, ..., marks (src/domain/standing.rs)
--   97..448  per window, longest first: open bucket's index, 4 totals when it was opened, 4 totals that have
--            left the window, index of the oldest closed bucket or -1, until when the sorted set is kept
--  449..528  the subject's time, 4 totals of all that was ever charged, 4 moments until which the windows stand
--            as they are (shortest first), until when this state is kept
--  529..     up to 64 peers of 56 bytes: id, first seen, last seen, hits, data; most recent first
-- So a window holds total - left, and its open bucket total - opened.
--
-- A report is charged whatever the limits and a ban say; its peer only where it fits.
--
-- Reply: 3 bytes (flags: 1 it fits, 2 created, 4 tracked; which limit it does not fit, 1..8 in the order of ARGV 1;
-- n, see below), the subject's time and the moment when the same again fits (-1: never) as doubles, bytes 449..528 of the state
-- as of now, the n shortest windows as of now, longest first, and the whole state as it was before.
--
-- Example: a new subject at 1700000000000 with 1 request of 500 tokens under 1000 tokens a minute gets flags 7
-- and totals {1, 500, 0, 0}; the same again gets flags 5 and {2, 1000, 0, 0}; a third time gets flags 4,
-- limit 1, and the moment when the first bucket leaves.

if #KEYS ~= 5 or #ARGV ~= 2 then
  return redis.error_reply("KEYWARD observe wants 5 keys and 2 arguments")
end

-- @include parts/windows.lua

local DAY_AND_HOUR, TWO_HOURS = 90000000, 7200000
local PEEK, REPORT = 1, 2
local floor, max, min = math.floor, math.max, math.min
local pack, unpacked, call = struct.pack, struct.unpack, redis.call

local charged_at, r, t, f, m = unpacked("<ddddd", ARGV[1])
local mode, capacity, may_create, observing = unpacked("<dddd", ARGV[1], 105)
local raw = call("GET", KEYS[1])
local known = raw
if not known then
  raw = empty_state()
  if may_create == 0 then mode = PEEK end
end
local version, state, _, ends, share = unpacked("<ddddd", raw)
local was, r0, t0, f0, m0, n1, n2, n3, n4, kept = unpacked(HEAD, raw, HEAD_AT)
local now = max(charged_at, was)

-- Windows that do not stand any more are moved to now, in memory only. `closing[w]`: the bucket that becomes a
-- closed one; `leaving[w]`: how many closed ones have left (-1: all).
local moved, closing, leaving

local function load(w)
  return {unpacked(WINDOW, raw, HEAD_AT - w * WINDOW_BYTES)}
end

if now >= n1 or now >= n2 or now >= n3 or now >= n4 then
  moved, closing, leaving = {}, {}, {}

  local function move(w)
    local x = load(w)
    local index, open = bucket_of(w, now), x[1]
    if index > open then
      if expires_at(w, open) <= now then
        if x[10] >= 0 then leaving[w] = -1 end
        x[6], x[7], x[8], x[9], x[10] = r0, t0, f0, m0, -1
      elseif r0 ~= x[2] or t0 ~= x[3] or f0 ~= x[4] or m0 ~= x[5] then
        closing[w] = {open, r0 - x[2], t0 - x[3], f0 - x[4], m0 - x[5]}
        if x[10] < 0 then x[10] = open end
      end
      x[1], x[2], x[3], x[4], x[5] = index, r0, t0, f0, m0
    end
    if x[10] >= 0 and expires_at(w, x[10]) <= now then
      local gone, chunk, found = 0, 1, false
      repeat
        local members = call("ZRANGE", KEYS[w + 1], gone, gone + chunk)
        for i = 1, #members do
          local at = index_of(members[i])
          if expires_at(w, at) > now then
            x[10], found = at, true
            break
          end
          gone = gone + 1
          local br, bt, bf, bm = counts_of(members[i])
          x[6], x[7], x[8], x[9] = min(x[6] + br, r0), min(x[7] + bt, t0), min(x[8] + bf, f0), min(x[9] + bm, m0)
        end
        if not found and #members <= chunk then
          -- None is left: what remains is what is open or closing, also if the set was lost.
          local last = closing[w]
          for k = 1, 4 do x[5 + k] = x[1 + k] - (last and last[k + 1] or 0) end
          x[10], found = last and last[1] or -1, true
          if not last then gone = -1 end
        end
        chunk = 15
      until found
      leaving[w] = gone
    end
    moved[w] = x
    local stands = (x[1] + 1) * BUCKET[w]
    if x[10] >= 0 then stands = min(stands, expires_at(w, x[10])) end
    return stands
  end

  if now >= n1 then n1 = move(1) end
  if now >= n2 then n2 = move(2) end
  if now >= n3 then n3 = move(3) end
  if now >= n4 then
    n4 = move(4)
    -- Totals stay small, and so exact, by forgetting what has left the longest window.
    local r4, t4, f4, m4 = moved[4][6], moved[4][7], moved[4][8], moved[4][9]
    for w = 1, 4 do
      local x = moved[w] or load(w)
      x[2], x[3], x[4], x[5] = x[2] - r4, x[3] - t4, x[4] - f4, x[5] - m4
      x[6], x[7], x[8], x[9] = x[6] - r4, x[7] - t4, x[8] - f4, x[9] - m4
      moved[w] = x
    end
    r0, t0, f0, m0 = r0 - r4, t0 - t4, f0 - f4, m0 - m4
  end
end

local in_force = ends < 0 or ends > now
-- Bit 1 of the marks: it was only observed.
if state > 0 and observing == 0 and unpacked("<d", raw, 89) % 4 >= 2 then in_force = false end
local banned = state >= 2 and in_force
if state ~= 1 or not in_force then share = 1000 end

-- When `excess` of count `k` has left window `w`; -1: never. Walks from the oldest bucket to the open one, in which
-- there will be `own` more.
local function clears_at(w, k, excess, own)
  local x = moved and moved[w] or load(w)
  local from = leaving and leaving[w] or 0
  if from >= 0 and x[10] >= 0 then
    repeat
      local members = call("ZRANGE", KEYS[w + 1], from, from + 15)
      for i = 1, #members do
        local requests, tokens = counts_of(members[i])
        excess = excess - (k == 1 and requests or tokens)
        if excess <= 0 then return expires_at(w, index_of(members[i])) end
      end
      from = from + 16
    until #members < 16
  end
  local last = closing and closing[w]
  if last then
    excess = excess - last[k + 1]
    if excess <= 0 then return expires_at(w, last[1]) end
  end
  local total = t0
  if k == 1 then total = r0 end
  if excess - (total + own - x[1 + k]) <= 0 then return expires_at(w, x[1]) end
  return -1
end

local refused, retry = 0, 0
if not banned then
  local limits = {unpacked("<dddddddd", ARGV[1], 41)}
  for i = 1, 8 do
    local limit = limits[i]
    if limit >= 0 then
      local w, k, amount, total = i, 2, t, t0
      if i > 4 then w, k, amount, total = i - 4, 1, r, r0 end
      if share ~= 1000 then
        limit = floor(limit / 1000) * share + floor(limit % 1000 * share / 1000)
      end
      local left
      if moved and moved[w] then
        left = moved[w][5 + k]
      else
        left = unpacked("<d", raw, HEAD_AT - w * WINDOW_BYTES + (4 + k) * 8)
      end
      local wanted = total - left + amount
      if wanted > limit then
        local at, own = -1, 0
        if mode == REPORT then own = amount end
        if amount <= limit then at = clears_at(w, k, wanted + own - limit, own) end
        if at < 0 then
          refused, retry = i, -1
          break
        end
        if refused == 0 or at > retry then refused, retry = i, at end
      end
    end
  end
end

local admitted = not banned and refused == 0
local charged = mode == REPORT or admitted and mode ~= PEEK
local flags = 0
if admitted then flags = 1 end
if charged and not known then flags = flags + 2 end
if known or mode ~= PEEK then flags = flags + 4 end

local lasts
if charged then
  was, r0, t0, f0, m0 = now, r0 + r, t0 + t, f0 + f, m0 + m
  local keep = DAY_AND_HOUR
  if version > 0 then keep = max(ends - now, 0) + THIRTY_DAYS end
  if kept < now + keep then
    kept = now + keep + TWO_HOURS
    lasts = keep + TWO_HOURS
  end
  -- All gone: the set and its time to live go too. Else add before removing, so that the set, and with it its
  -- time to live, is never gone in between.
  for w, gone in pairs(leaving or {}) do
    if gone == -1 then
      call("DEL", KEYS[w + 1])
      moved[w][11] = 0
    end
  end
  for w, last in pairs(closing or {}) do
    call("ZADD", KEYS[w + 1], last[1],
      string.format("%d:%d:%d:%d:%d", last[1], last[2], last[3], last[4], last[5]))
    if moved[w][11] < now + DAY_AND_HOUR then
      moved[w][11] = now + DAY_AND_HOUR + TWO_HOURS
      call("PEXPIRE", KEYS[w + 1], DAY_AND_HOUR + TWO_HOURS)
    end
  end
  for w, gone in pairs(leaving or {}) do
    if gone > 0 then call("ZREMRANGEBYRANK", KEYS[w + 1], 0, gone - 1) end
  end
end

local count, windows = 0, ""
if moved then
  for w = 1, 4 do
    if moved[w] then count = w end
  end
  for w = count, 1, -1 do
    windows = windows .. pack(WINDOW, unpack(moved[w] or load(w), 1, 11))
  end
end
local head = pack(HEAD, was, r0, t0, f0, m0, n1, n2, n3, n4, kept)

if charged then
  local peer, size, from = ARGV[2], #raw, HEAD_AT - count * WINDOW_BYTES
  if not admitted then peer = "" end
  local changed, fits = windows .. head, true
  if peer ~= "" then
    local id, first, hits, at = peer:sub(1, 8), now, 0, PEERS_AT
    while at < size and raw:sub(at, at + 7) ~= id do at = at + PEER_BYTES end
    if at < size then first, _, hits = unpacked("<ddd", raw, at + 8) end
    changed = changed .. id .. pack("<ddd", first, now, hits + 1) .. peer:sub(9)
    if at > PEERS_AT or size >= PEERS_AT + capacity * PEER_BYTES then
      local others = raw:sub(PEERS_AT, at - 1) .. raw:sub(at + PEER_BYTES)
      while #others > (capacity - 1) * PEER_BYTES do
        -- The last one leaves; before it the last of those whose id has the highest bit.
        local leaves = #others - PEER_BYTES + 1
        for place = leaves, 1, -PEER_BYTES do
          if others:byte(place + 7) >= 128 then
            leaves = place
            break
          end
        end
        others = others:sub(1, leaves - 1) .. others:sub(leaves + PEER_BYTES)
      end
      changed = changed .. others
      fits = from - 1 + #changed >= size
    end
  end
  if not known then
    call("SET", KEYS[1], raw:sub(1, from - 1) .. changed, "PX", lasts)
  else
    if fits then
      call("SETRANGE", KEYS[1], from - 1, changed)
    else
      call("SET", KEYS[1], raw:sub(1, from - 1) .. changed, "KEEPTTL")
    end
    if lasts then call("PEXPIRE", KEYS[1], lasts) end
  end
end
return pack("<BBBdd", flags, refused, count, now, retry) .. head .. windows .. raw
