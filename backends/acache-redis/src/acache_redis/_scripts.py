"""The scripts that run inside Redis: one per verb, each atomic on one key or tag.

They repeat the rules of `acache._claims` at the server. KEYS[1] is an entry or a tag's version,
KEYS[2] its claims: a hash of `:<token>` to the millisecond at which it ends, `kind`, and `taint`.
The hash lives as long as its longest claim; what has ended sooner is ignored. ARGV[1] is the channel
of the feed, empty where nothing is to be published, ARGV[2] the message. Times are the server's.

Every script may be sent again after its answer was lost: a second run changes nothing that the first
one did not mean to. Versions are made from what the caller drew at random, never by a script.

The order within a script matters to a server that is full and evicts nothing: it refuses a SET or
HSET as a script's first write only. So what invalidates deletes first and then always succeeds, and
what stores begins with the SET, which is refused before anything else has changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, final

from acache_redis._names import Pair
from acache_redis._resp import Command
from acache_redis._script import Script, loads

_READ = """
-- What stands under a name of ours but is of another type was not put there by us: it is nothing, and goes.
local function read(command, key)
    local value = redis.pcall(command, key)
    if type(value) == 'table' and value.err then
        if not string.find(value.err, 'WRONGTYPE', 1, true) then
            return redis.call(command, key)
        end
        redis.call('UNLINK', key)
        return false
    end
    return value
end
"""

_PRELUDE = (
    _READ
    + """
local function clock()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local standing = {held = {}, count = 0, kind = false, taint = false}
local fields = read('HGETALL', KEYS[2]) or {}
local now = #fields > 0 and clock()
for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    if field == 'kind' then
        standing.kind = value
    elseif field == 'taint' then
        standing.taint = true
    elseif (tonumber(value) or 0) > now then
        standing.held[field] = tonumber(value)
        standing.count = standing.count + 1
    end
end
if standing.count == 0 then
    standing.kind, standing.taint = false, false
end

local function save()
    if #fields > 0 then
        redis.call('UNLINK', KEYS[2])
    end
    if standing.count == 0 then
        return
    end
    local hash, last = {'kind', standing.kind}, 0
    if standing.taint then
        hash[3], hash[4] = 'taint', '1'
    end
    for field, ends in pairs(standing.held) do
        hash[#hash + 1] = field
        hash[#hash + 1] = string.format('%.0f', ends)
        last = math.max(last, ends)
    end
    redis.call('HSET', KEYS[2], unpack(hash))
    redis.call('PEXPIREAT', KEYS[2], string.format('%.0f', last))
end

local function prolong(token, ttl)
    local field = ':' .. token
    now = now or clock()
    if not standing.held[field] then
        standing.count = standing.count + 1
    end
    standing.held[field] = math.max(standing.held[field] or 0, now + ttl)
end

local function release(token)
    if standing.held[':' .. token] then
        standing.held[':' .. token] = nil
        standing.count = standing.count - 1
    end
end

local function sole(token)
    return standing.count == 1 and standing.held[':' .. token] and not standing.taint
end

-- Somebody without a claim changes the name: a lease ends, fences are tainted.
local function disturb()
    if standing.kind == 'lease' then
        standing.held, standing.count = {}, 0
    elseif standing.kind then
        standing.taint = true
    end
end

local function publish()
    if ARGV[1] ~= '' then
        redis.call('PUBLISH', ARGV[1], ARGV[2])
    end
end
"""
)


@final
@dataclass(frozen=True, slots=True)
class Verb(Script):
    """One of the texts."""

    def on(self, pair: Pair, *arguments: bytes | int) -> Command:
        """Return the command that runs it, and publishes nothing."""
        return self.run(pair, b"", b"", *arguments)


def saying(commands: Sequence[Command], channel: bytes, message: bytes) -> list[Command]:
    """Return *commands*, the last of which publishes *message*; if there are none, one that does."""
    if not commands:
        return [(b"PUBLISH", channel, message)]
    last = commands[-1]
    return [*commands[:-1], (*last[:5], channel, message, *last[7:])]


_all: list[Verb] = []


def _script(body: str) -> Verb:
    script = Verb.of(_PRELUDE + body)
    _all.append(script)
    return script


LEASE: Final = _script("""
local token, ttl, seen = ARGV[3], tonumber(ARGV[4]), ARGV[5]
local data = read('GET', KEYS[1])
if data and redis.sha1hex(data) ~= seen then
    return {'found', data}
end
if standing.kind == 'fence' then
    return {'fenced'}
end
if standing.count > 0 and not standing.held[':' .. token] then
    local field, ends = next(standing.held)
    return {'busy', ends - now, string.sub(field, 2)}
end
standing.kind = 'lease'
prolong(token, ttl)
save()
return {'granted'}
""")

RENEW: Final = _script("""
local token, ttl = ARGV[3], tonumber(ARGV[4])
if not standing.held[':' .. token] then
    return 0
end
prolong(token, ttl)
save()
return 1
""")

RELEASE: Final = _script("""
release(ARGV[3])
save()
publish()
return 1
""")

COMMIT: Final = _script("""
local token, data, ttl = ARGV[3], ARGV[4], ARGV[5]
local stored = sole(token) and redis.pcall('SET', KEYS[1], data, 'PX', ttl)
release(token)
save()
if not stored then
    return read('GET', KEYS[1]) == data and 1 or 0
end
if stored.err then
    return stored
end
publish()
return 1
""")

PUT: Final = _script("""
local data, ttl = ARGV[3], ARGV[4]
if standing.kind == 'fence' then
    redis.call('UNLINK', KEYS[1])
else
    redis.call('SET', KEYS[1], data, 'PX', ttl)
end
disturb()
save()
publish()
return 1
""")

DROP: Final = _script("""
local keep = ARGV[3]
if not keep or read('GET', KEYS[1]) ~= keep then
    redis.call('UNLINK', KEYS[1])
end
disturb()
save()
publish()
return 1
""")

FENCE: Final = _script("""
local token, ttl = ARGV[3], tonumber(ARGV[4])
redis.call('UNLINK', KEYS[1])
if standing.count > 1 or not standing.held[':' .. token] then
    disturb()
end
standing.kind = 'fence'
prolong(token, ttl)
save()
publish()
return 1
""")

VERSION: Final = _script("""
local version, ttl = ARGV[3], tonumber(ARGV[4])
if standing.kind == 'fence' then
    return false
end
local there = read('GET', KEYS[1])
if not there then
    redis.call('SET', KEYS[1], version, 'PX', ttl)
    return version
end
if redis.call('PTTL', KEYS[1]) < ttl then
    redis.call('PEXPIRE', KEYS[1], ttl)
end
return there
""")

SETTLE: Final = _script("""
local token, version, ttl = ARGV[3], ARGV[4], ARGV[5]
if read('GET', KEYS[1]) == version then
    return version
end
local new = sole(token)
redis.call('UNLINK', KEYS[1])
release(token)
disturb()
save()
if new then
    redis.call('SET', KEYS[1], version, 'PX', ttl)
end
return new and version
""")

# For the place of a namespace's stamp where something of another type stands: else it takes no script.
STAMP: Final = Verb.of(
    _READ
    + """
local there = read('GET', KEYS[1])
if not there then
    redis.call('SET', KEYS[1], ARGV[1])
    return ARGV[1]
end
return there
"""
)
_all.append(STAMP)

CLAIMS: Final = _script("""
local found = {}
for field, ends in pairs(standing.held) do
    found[#found + 1] = {standing.kind, string.sub(field, 2), ends - now, standing.taint and 1 or 0}
end
return found
""")

_INVALIDATING: Final = frozenset(script.sha for script in (PUT, DROP, FENCE, SETTLE))


def invalidation(command: Command) -> tuple[bytes, Command] | None:
    """Return what *command* invalidates, and the command that does no more than that; None if nothing.

    A release is none: a writer has invalidated before it, and a loader has not."""
    if command[0] == b"EVALSHA" and command[1] in _INVALIDATING:
        name, claims = command[3], command[4]
        assert isinstance(name, bytes)  # noqa: S101 - as `Verb.on` made it
        assert isinstance(claims, bytes)  # noqa: S101
        return name, DROP.on((name, claims))
    if command[0] == b"UNLINK" or (command[0] == b"SET" and b"NX" not in command):
        name = command[1]
        assert isinstance(name, bytes)  # noqa: S101 - as the store made it
        return name, (b"UNLINK", name)
    return None


LOADS: Final[Sequence[Command]] = loads(_all)

_LONGEST: Final = 10 * 365 * 24 * 3600.0


def milliseconds(seconds: float) -> int:
    """Return a time to live as Redis takes it: at least 1, at most ten years."""
    return max(1, ceil(min(seconds, _LONGEST) * 1000))
