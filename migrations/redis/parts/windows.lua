-- The windows of a subject: how its state is laid out (see 0001_observe.lua), and the bucket rule of
-- src/domain/window.rs. Whoever includes this has set nothing but KEYS and ARGV.

local WINDOW, WINDOW_BYTES = "<ddddddddddd", 88
local HEAD, HEAD_AT = "<dddddddddd", 449
local PEERS_AT, PEER_BYTES = 529, 56
local THIRTY_DAYS = 2592000000

-- Of the 1min, 5min, 1hour and 24hour window: the length W/64 of a bucket, and how long after the start of bucket 0
-- that bucket counts, W/64 + W/960 + W. All in ms.
local BUCKET = {937, 4687, 56250, 1350000}
local SPAN = {60999, 304999, 3660000, 87840000}

-- The bucket of window `w` that a moment falls into.
local function bucket_of(w, at)
  return math.floor(at / BUCKET[w])
end

-- The moment from which a bucket of window `w` no longer counts.
local function expires_at(w, index)
  return index * BUCKET[w] + SPAN[w]
end

-- The state of a subject that nothing is known of.
local function empty_state()
  local window = struct.pack(WINDOW, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0)
  return struct.pack("<dddddddddddd", 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0) .. window .. window .. window .. window
    .. struct.pack(HEAD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
end

-- The index of a closed bucket, from its member of the sorted set.
local function index_of(member)
  return tonumber(member:match("^%d+"))
end

-- The counts of a closed bucket, from its member: requests, tokens, auth_failures, not_found.
local function counts_of(member)
  local requests, tokens, auth, missing = member:match(":(%d+):(%d+):(%d+):(%d+)$")
  return tonumber(requests), tonumber(tokens), tonumber(auth), tonumber(missing)
end
