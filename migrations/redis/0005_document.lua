#!lua
-- Writes or deletes a document, counts the revision up, notes what changed and appends the event that tells of it.
--
-- KEYS  1  documents: hash, field "kind/name" = JSON, field "#" = revision, field "#mark" = "revision mark": the mark
--          of the last change (an older version of this script leaves it, so that its revision is another)
--       2  changes: stream, id "revision-0", fields "d" = field of the document, "m" = mark
--       3  event stream of partition 0
-- ARGV  1  field
--       2  JSON; empty: delete
--       3  about how many events are kept
--       4  the event, JSON
--       5  mark of this change
--       6  about how many changes are kept
--       7  the revision at which alone it is written, and 8 its mark as "#mark" has it; empty: whatever it is
--
-- Reply: 1 if the document was there before, else 0: where it was to be deleted, nothing is written then. -1: there is
-- another revision, and nothing is written.
--
-- Example: writing "policy/current" on an empty hash replies 0 and sets "#" to 1; deleting it then replies 1
-- and sets "#" to 2; deleting it again replies 0, and "#" is 2 still.

if #KEYS ~= 3 or #ARGV ~= 8 then
  return redis.error_reply("KEYWARD document wants 3 keys and 8 arguments")
end
local is = redis.call("HMGET", KEYS[1], "#", "#mark")
if ARGV[7] ~= "" and (is[1] or "0") ~= ARGV[7] then return -1 end
if ARGV[8] ~= "" and is[2] ~= ARGV[8] then return -1 end
local there = redis.call("HEXISTS", KEYS[1], ARGV[1])
if ARGV[2] == "" and there == 0 then return 0 end
redis.call("XADD", KEYS[3], "MAXLEN", "~", ARGV[3], "*", "e", ARGV[4])
if ARGV[2] == "" then
  redis.call("HDEL", KEYS[1], ARGV[1])
else
  redis.call("HSET", KEYS[1], ARGV[1], ARGV[2])
end
local revision = redis.call("HINCRBY", KEYS[1], "#", 1)
redis.call("HSET", KEYS[1], "#mark", revision .. " " .. ARGV[5])
local change = {"XADD", KEYS[2], "MAXLEN", "~", ARGV[6], revision .. "-0", "d", ARGV[1], "m", ARGV[5]}
-- Changes that are ahead of the documents are of documents that are lost.
if type(redis.pcall(unpack(change))) == "table" then
  redis.call("DEL", KEYS[2])
  redis.call(unpack(change))
end
return there
