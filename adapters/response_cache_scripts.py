"""What the response cache does in Valkey, each in one step; and the ways there.

    cache:{<scope>}:generation     the secret under which the scope's answers are sealed; replacing it purges them all
    cache:{<scope>}:<digest>       a sealed answer
    cache:{<scope>}:<digest>:lock  the token of who asks for it just now

The braces keep what is read together on one node of a cluster.
"""

from collections.abc import Callable
from functools import partial

from adapters.cache_guard import CacheGuard
from adapters.valkey_scripts import Arguments, BatchedScripts, Script, ScriptCall, ValkeyAway
from domain.response_cache import CacheKey

# KEYS: generation, answer, lock. ARGV: token or '', its lease in ms, whether to read an answer, a generation for when
# there is none ('': none is made), its ttl in s, the longest answer to give, in bytes.
# Answers {generation or '', sealed answer or '', 1 if the token leads, 1 if the answer is too long}.
LOOK = Script("""
local generation, sealed = redis.call('GET', KEYS[1]) or '', ''
if generation == '' and ARGV[4] ~= '' then
    generation = ARGV[4]
    redis.call('SET', KEYS[1], generation, 'EX', ARGV[5])
elseif generation ~= '' and ARGV[3] == '1' then
    local bytes = redis.call('STRLEN', KEYS[2])
    if bytes > tonumber(ARGV[6]) then return {generation, '', 0, 1} end
    if bytes > 0 then sealed = redis.call('GET', KEYS[2]) end
end
if sealed ~= '' or ARGV[1] == '' then return {generation, sealed, 0, 0} end
local holder = redis.call('GET', KEYS[3])
if not holder then redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2]) end
return {generation, '', (not holder or holder == ARGV[1]) and 1 or 0, 0}
""")

# KEYS: the same. ARGV: token, the answer sealed, under which generation, ttl in s, the generation's ttl in s.
# Answers 1, or 0 when it is another generation by now.
KEEP = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[3] then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[4])
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
return 1
""")

RELEASE = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
""")


class Way:
    """To Valkey over one connection, with at most so many calls under way; left alone for a while when it fails."""

    def __init__(self, scripts: BatchedScripts, guard: CacheGuard, most_at_once: int = 10_000) -> None:
        self.scripts = scripts
        self.guard = guard
        self._most_at_once = most_at_once
        self._under_way = 0

    def call(
        self, script: Script, key: CacheKey, arguments: Arguments, heard: Callable[[object], None] | None = None
    ) -> ScriptCall | None:
        """On its way; None while it is left alone, or too much is under way."""
        if self._under_way >= self._most_at_once or not self.guard.begin():
            return None
        self._under_way += 1
        call = self.scripts.call(script, (generation_of(key.scope), answer_of(key), lock_of(key)), arguments)
        call.then(self._hear if heard is None else partial(self._hear_and_tell, heard))
        return call

    def _hear(self, reply: object) -> None:
        self._under_way -= 1
        if isinstance(reply, ValkeyAway):
            self.guard.failed()
        else:
            self.guard.succeeded()

    def _hear_and_tell(self, heard: Callable[[object], None], reply: object) -> None:
        self._hear(reply)
        heard(reply)


def generation_of(scope: str) -> str:
    return f"cache:{{{scope}}}:generation"


def answer_of(key: CacheKey) -> str:
    return f"cache:{{{key.scope}}}:{key.digest}"


def lock_of(key: CacheKey) -> str:
    return f"cache:{{{key.scope}}}:{key.digest}:lock"
