//! Tags that all processes share: the keys of a tag stand in a sorted set on the server, so that
//! one command removes them. Each removal is pushed like any other.

/// Adds a key to a tag. KEYS: the tag. ARGV: the key; how many milliseconds it lives, or 0. Of the
/// keys whose deadline in the set is over, those that are gone leave the set. The others were set
/// again, and get the deadline that they have now. A hundred a call: what was over at once is gone
/// after a few calls, and no call holds the server up.
pub(crate) const TAG: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function add(key, left)
  local till = left and string.format('%.0f', now + left + 1) or '+inf'
  redis.call('ZADD', KEYS[1], till, key)
end
local before = '(' .. string.format('%.0f', now)
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before, 'LIMIT', 0, 100)
for _, key in ipairs(over) do
  local left = redis.call('PTTL', key)
  if left == -2 then redis.call('ZREM', KEYS[1], key) else add(key, left >= 0 and left) end
end
add(ARGV[1], ARGV[2] ~= '0' and tonumber(ARGV[2]))";

/// Removes the keys of a tag, and the rights to load them. KEYS: the tag. ARGV: what stands before a
/// key in the name of the right to load it. Returns the keys.
pub(crate) const INVALIDATE_TAG: &str = "
local keys = redis.call('ZRANGE', KEYS[1], 0, -1)
for _, key in ipairs(keys) do
  redis.call('DEL', key, ARGV[1] .. key)
end
redis.call('DEL', KEYS[1])
return keys";
