//! Tags that all processes share: the keys of a tag stand in a sorted set on the server, so that
//! one command removes them. Each removal is pushed like any other.

/// Adds a key to a tag. KEYS: the tag. ARGV: the key; how many milliseconds it lives, or 0. What is
/// over by now leaves the set, which so has no more keys than live ones, and those set for ever.
pub(crate) const TAG: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now))
local till = '+inf'
if ARGV[2] ~= '0' then till = string.format('%.0f', now + ARGV[2] + 1) end
redis.call('ZADD', KEYS[1], till, ARGV[1])";

/// Removes the keys of a tag, and the rights to load them. KEYS: the tag. Returns the keys.
pub(crate) const INVALIDATE_TAG: &str = "
local keys = redis.call('ZRANGE', KEYS[1], 0, -1)
for _, key in ipairs(keys) do
  redis.call('DEL', key, 'coeval:load:' .. key)
end
redis.call('DEL', KEYS[1])
return keys";
