"""The scripts that run inside Redis for a journal: one per verb, atomic. They look into no record.

All keys of a journal are in one slot, so one script changes what belongs together. They are, in the
order of KEYS (`_names.journal_keys`):

| `writes` | hash | place → first number, record | every pending write |
| `places` | sorted set, all scores 0 | places | the same in the order of keys and numbers |
| `queue` | sorted set | key → its first number | keys that wait to be claimed, the longest waiting first |
| `claims` | sorted set | key → deadline, ms | keys that are being flushed |
| `owners` | hash | key → first number, claimed number, token | by whom, and what of them |
| `counts` | hash | `last`, the highest number ever; `graves` | |
| `dead` | hash | place → attempts, length of the head, head, first number, record | dead letters |
| `graves` | sorted set | place → order of burial | the same, oldest first |
| `tries` | hash | place → how often it was buried | of those that are dead or pending again |
| `marks` | hash | key → how many letters, highest number flushed since | of keys that have dead letters |

A *place* is a key with its length before it and a number behind it, so that the places of one key
stand together, in order. Numbers are text of twenty digits, because Lua's are exact up to 2^53 only.
A *first number* says since which write nothing of the key was flushed.

Every script may be sent again after its answer was lost. Those that would act twice remember what
they answered for a while, under the key `request` of their own (the last of KEYS).

The order within a script matters to a server that is full and evicts nothing: it refuses an HSET or
SET as a script's first write only. So appending begins with one, and is refused whole or not at all;
what leads to writes being flushed begins with a deletion, and succeeds (`regardless`).
"""

from collections.abc import Sequence
from typing import Final

from acache_redis._resp import Command
from acache_redis._script import Script, loads

_PRELUDE = """
local writes, places, queue, claims, owners, counts, dead, graves, tries, marks, request = unpack(KEYS)
local call = redis.call
local FIRST, LAST = string.rep('0', 20), string.rep('9', 20)

local function regardless()
    call('HDEL', counts, '-')
end

local function place_of(key, number)
    return string.format('%08x', #key) .. key .. number
end

local function key_of(place)
    return string.sub(place, 9, -21)
end

local function number_of(place)
    return string.sub(place, -20)
end

local function digits(score)
    return string.format('%020.0f', tonumber(score))
end

local function microseconds()
    local time = call('TIME')
    return string.format('%010.0f%010.0f', math.floor(time[1] / 10000),
        (time[1] % 10000) * 1000000 + time[2])
end

local function milliseconds()
    local time = call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function plus(number, more)
    local low = tonumber(string.sub(number, 11)) + more
    local high = tonumber(string.sub(number, 1, 10)) + math.floor(low / 10000000000)
    return string.format('%010.0f%010.0f', high, low % 10000000000)
end

local function standing(key, low, high)
    return call('ZRANGEBYLEX', places, '[' .. place_of(key, low), '[' .. place_of(key, high))
end

local function oldest(key)
    return call('ZRANGEBYLEX', places, '[' .. place_of(key, FIRST), '[' .. place_of(key, LAST),
        'LIMIT', 0, 1)[1]
end

local function newest(key)
    return call('ZREVRANGEBYLEX', places, '[' .. place_of(key, LAST), '[' .. place_of(key, FIRST),
        'LIMIT', 0, 1)[1]
end

local function first_of(place)
    return string.sub(call('HGET', writes, place), 1, 20)
end

local function owner_of(key)
    local text = call('HGET', owners, key)
    if text then
        return string.sub(text, 41), string.sub(text, 1, 20), string.sub(text, 21, 40)
    end
end

-- Let a key be claimed, if anything of it is pending.
local function offer(key, since)
    call('HDEL', owners, key)
    call('ZREM', claims, key)
    local place = oldest(key)
    if place then
        call('ZADD', queue, since or first_of(place), key)
    else
        call('ZREM', queue, key)
    end
end

local function remove(place)
    call('HDEL', writes, place)
    call('ZREM', places, place)
end

-- Keep one more write. What it replaces, and nobody is flushing, will never be needed.
local function enter(key, number, record, replace)
    local place = place_of(key, number)
    local _, _, claimed = owner_of(key)
    local since = number
    call('HSET', writes, place, since .. record)
    call('ZADD', places, 0, place)
    if replace then
        for _, other in ipairs(standing(key, claimed or FIRST, number)) do
            if other ~= place and number_of(other) ~= claimed then
                local first = first_of(other)
                since = first < since and first or since
                remove(other)
                call('HDEL', tries, other)
            end
        end
        call('HSET', writes, place, since .. record)
    end
    if not claimed then
        call('ZADD', queue, 'LT', since, key)
    end
    if number > (call('HGET', counts, 'last') or FIRST) then
        call('HSET', counts, 'last', number)
    end
end

-- Forget what has reached the source; what is dead of the key is outdated from then on.
local function forget(key, number)
    for _, place in ipairs(standing(key, FIRST, number)) do
        remove(place)
        call('HDEL', tries, place)
    end
    local mark = call('HGET', marks, key)
    if mark and string.sub(mark, -20) < number then
        call('HSET', marks, key, string.sub(mark, 1, -21) .. number)
    end
end

local function count_letters(key, more)
    local mark = call('HGET', marks, key) or ('0' .. FIRST)
    local letters = tonumber(string.sub(mark, 1, -21)) + more
    if letters > 0 then
        call('HSET', marks, key, letters .. string.sub(mark, -20))
    else
        call('HDEL', marks, key)
    end
end

local function exhume(place)
    call('HDEL', dead, place)
    call('ZREM', graves, place)
    count_letters(key_of(place), -1)
end
"""

_all: list[Script] = []


def _script(body: str) -> Script:
    script = Script.of(_PRELUDE + body)
    _all.append(script)
    return script


# ARGV: how long to remember the request (ms), then key, number, record of each write.
APPEND: Final = _script("""
if not call('SET', request, '', 'NX', 'PX', ARGV[1]) then
    return ''
end
for at = 2, #ARGV, 3 do
    enter(ARGV[at], ARGV[at + 1], ARGV[at + 2], false)
end
return ''
""")

# ARGV: how long to remember the request (ms), then key, record of each write. Returns the first number.
APPEND_NEXT: Final = _script("""
local answer = call('GET', request)
if answer then
    return answer
end
local first = plus(call('HGET', counts, 'last') or FIRST, 1)
local time = microseconds()
if time > first then
    first = time
end
call('SET', request, first, 'PX', ARGV[1])
for at = 2, #ARGV, 2 do
    enter(ARGV[at], plus(first, (at - 2) / 2), ARGV[at + 1], true)
end
return first
""")

# ARGV: keys. Returns place and record of the newest write of each key that has one.
PENDING: Final = _script("""
local found = {}
for _, key in ipairs(ARGV) do
    local place = newest(key)
    if place then
        found[#found + 1] = place
        found[#found + 1] = string.sub(call('HGET', writes, place), 21)
    end
end
return found
""")

# ARGV: how long to remember the request (ms), token, ttl (ms), limit. Returns like PENDING.
CLAIM: Final = _script("""
regardless()
local token, ttl, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = milliseconds()
local found = {}
local function give(place)
    found[#found + 1] = place
    found[#found + 1] = string.sub(call('HGET', writes, place), 21)
end
for _, key in ipairs(call('ZRANGEBYSCORE', claims, '-inf', now, 'LIMIT', 0, 1000)) do
    local _, since = owner_of(key)
    offer(key, since)
end
if call('SET', request, '', 'NX', 'PX', ARGV[1]) then
    local waiting = call('ZRANGE', queue, 0, limit - 1, 'WITHSCORES')
    for at = 1, #waiting, 2 do
        local key, place = waiting[at], newest(waiting[at])
        call('HSET', owners, key, digits(waiting[at + 1]) .. number_of(place) .. token)
        call('ZADD', claims, now + ttl, key)
        call('ZREM', queue, key)
        give(place)
    end
else
    for _, key in ipairs(call('HKEYS', owners)) do
        local owner, _, number = owner_of(key)
        local place = place_of(key, number)
        if owner == token and call('ZSCORE', places, place) then
            give(place)
        end
    end
end
return found
""")

# ARGV: token, ttl (ms), keys. Returns 1 if all are this token's.
RENEW: Final = _script("""
regardless()
local token, until_, all = ARGV[1], milliseconds() + ARGV[2], 1
for at = 3, #ARGV do
    if owner_of(ARGV[at]) == token then
        call('ZADD', claims, until_, ARGV[at])
    else
        all = 0
    end
end
return all
""")

# ARGV: token, then key, number of what was flushed. Returns the keys that are another's by now.
SETTLE: Final = _script("""
regardless()
local lost = {}
for at = 2, #ARGV, 2 do
    local key, number = ARGV[at], ARGV[at + 1]
    if owner_of(key) == ARGV[1] then
        forget(key, number)
        offer(key)
    else
        local place = oldest(key)
        if place and number_of(place) <= number then
            lost[#lost + 1] = key
        end
    end
end
return lost
""")

# ARGV: token, keys.
RELEASE: Final = _script("""
regardless()
for at = 2, #ARGV do
    local owner, since = owner_of(ARGV[at])
    if owner == ARGV[1] then
        offer(ARGV[at], since)
    end
end
return 1
""")

# ARGV: key, number of what has reached the source, whoever flushed it.
ACKNOWLEDGE: Final = _script("""
regardless()
for at = 1, #ARGV, 2 do
    forget(ARGV[at], ARGV[at + 1])
    if not owner_of(ARGV[at]) then
        offer(ARGV[at])
    end
end
return 1
""")

# ARGV: key, number, head of the letter.
BURY: Final = _script("""
regardless()
local key, place = ARGV[1], place_of(ARGV[1], ARGV[2])
local record = call('HGET', writes, place)
if not record then
    return 0
end
local attempts = call('HINCRBY', tries, place, 1)
call('HSET', dead, place, string.format('%010d%010d', attempts, #ARGV[3]) .. ARGV[3] .. record)
call('ZADD', graves, call('HINCRBY', counts, 'graves', 1), place)
count_letters(key, 1)
remove(place)
if not owner_of(key) then
    offer(key)
end
return 1
""")

# ARGV: key, number. Returns what became of the letter.
REVIVE: Final = _script("""
local key, number = ARGV[1], ARGV[2]
local place = place_of(key, number)
local letter = call('HGET', dead, place)
if not letter then
    return call('ZSCORE', places, place) and 'revived' or 'gone'
end
if string.sub(call('HGET', marks, key), -20) > number then
    return 'outdated'
end
local record = string.sub(letter, 21 + tonumber(string.sub(letter, 11, 20)))
call('HSET', writes, place, record)
call('ZADD', places, 0, place)
if not owner_of(key) then
    call('ZADD', queue, 'LT', string.sub(record, 1, 20), key)
end
exhume(place)
return 'revived'
""")

# ARGV: key, number.
DISCARD: Final = _script("""
local place = place_of(ARGV[1], ARGV[2])
if call('HEXISTS', dead, place) == 1 then
    exhume(place)
    call('HDEL', tries, place)
end
return 1
""")

# ARGV: the place after which to go on, how many, and bytes. Returns place and record of each.
PAGE: Final = _script("""
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
local found, bytes = {}, 0
for _, place in ipairs(call('ZRANGEBYLEX', places, from, '+', 'LIMIT', 0, ARGV[2])) do
    local record = call('HGET', writes, place)
    found[#found + 1] = place
    found[#found + 1] = string.sub(record, 21)
    bytes = bytes + #record
    if bytes > tonumber(ARGV[3]) then
        break
    end
end
return found
""")

# ARGV: the order after which to go on, how many. Returns place, order and letter of each.
LETTERS: Final = _script("""
local found = {}
local buried = call('ZRANGEBYSCORE', graves, '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for at = 1, #buried, 2 do
    found[#found + 1] = buried[at]
    found[#found + 1] = tonumber(buried[at + 1])
    found[#found + 1] = call('HGET', dead, buried[at])
end
return found
""")

# Returns the highest number ever; keys pending, the first number of all, the time in microseconds,
# how many are dead.
DEPTH: Final = _script("""
local first = call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2]
first = first and digits(first)
for _, text in ipairs(call('HVALS', owners)) do
    local since = string.sub(text, 1, 20)
    if not first or since < first then
        first = since
    end
end
return {call('HGET', counts, 'last') or FIRST, call('ZCARD', queue) + call('ZCARD', claims),
    first or '', microseconds(), call('ZCARD', graves)}
""")

LOADS: Final[Sequence[Command]] = loads(_all)
