#!lua
-- Writes profiles that nobody else has written since they were read, notes when their subjects were last seen, and
-- which of them others are to look at.
--
-- KEYS  1     subjects of the partition by when they were last seen, a sorted set
--       2     its news: subjects whose profiles others are to look at, by when that was, a sorted set
--       3..   profiles: 8 bytes version, then the packed profile
-- ARGV  1     how long profiles are kept, ms
--       2     subjects that were last seen before this are forgotten there, ms
--       3     news from before this are forgotten, ms
--       4     how many news are kept at most
--       5..   five of each profile: the versions that it may be written over, 8 bytes each (zeros: there is no profile;
--             no version at all: it is only read); the new value, version included; the subject; when it was last seen,
--             ms; since when others are to look at it, ms (empty: they need not)
--
-- Reply: of each profile 1 if it was written; else what is stored there, which somebody else has written (nil:
-- nothing).
--
-- Example: on no profile, 8 zeros write and reply {1}; the same call again replies {the value}.

local seen, news = KEYS[1], KEYS[2]
if #KEYS < 3 or #ARGV ~= 4 + 5 * (#KEYS - 2) then
  return redis.error_reply("KEYWARD profile wants 3 keys or more, and 4 arguments and 5 of each profile")
end

local function holds(versions, version)
  for at = 1, #versions, 8 do
    if string.sub(versions, at, at + 7) == version then return true end
  end
  return false
end

local replies, written, fresh = {}, {}, {}
for n = 3, #KEYS do
  local at = 5 * (n - 3) + 4
  local version = redis.call("GETRANGE", KEYS[n], 0, 7)
  if version == "" then version = string.rep("\0", 8) end
  if holds(ARGV[at + 1], version) then
    redis.call("SET", KEYS[n], ARGV[at + 2], "PX", ARGV[1])
    written[#written + 1] = ARGV[at + 4]
    written[#written + 1] = ARGV[at + 3]
    if ARGV[at + 5] ~= "" then
      fresh[#fresh + 1] = ARGV[at + 5]
      fresh[#fresh + 1] = ARGV[at + 3]
    end
    replies[n - 2] = 1
  else
    replies[n - 2] = redis.call("GET", KEYS[n])
  end
end
if #written > 0 then
  redis.call("ZADD", seen, unpack(written))
  redis.call("ZREMRANGEBYSCORE", seen, "-inf", "(" .. ARGV[2])
end
if #fresh > 0 then
  redis.call("ZADD", news, unpack(fresh))
  redis.call("ZREMRANGEBYSCORE", news, "-inf", "(" .. ARGV[3])
  redis.call("ZREMRANGEBYRANK", news, 0, -1 - ARGV[4])
end
return replies
