"""How to reach one server: makes connections, knows the credentials, shows them to nobody.

A cluster has one dialer per node; who asks which node is decided above.
"""

from collections.abc import Awaitable, Callable, Mapping
from ssl import SSLCertVerificationError
from typing import Any, Final, cast, final

from redis.asyncio import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection

from acache.errors import StoreUnavailable
from acache_redis._acl import missing_right
from acache_redis._resp import Refused, Reply
from acache_redis._wire import Connection as RedisConnection
from acache_redis._wire import Wire

# What a lent client's options say about its own pool, retries and decoding is not for us: a call has
# one deadline, is sent again at most once, and its answer is bytes. RESP2, because it is enough and
# because maintenance notices (RESP3) are an affair between the client and its pool.
_OVERRIDDEN: Final[dict[str, Any]] = {
    "socket_timeout": None,
    "socket_connect_timeout": None,
    "retry": None,
    "retry_on_timeout": False,
    "retry_on_error": [],
    "health_check_interval": 0,
    "decode_responses": False,
    "protocol": 2,
}
_SECRETS: Final = ("password", "username", "ssl_password")
_DROPPED: Final = ("maint", "orig_", "oss_", "himport", "event_dispatcher")


@final
class Dialer:
    """Makes connections to one server, and errors that tell which server but never its secrets."""

    def __init__(
        self,
        connection_class: type,
        options: Mapping[str, Any],
        *,
        find: Callable[[], Awaitable[tuple[str, int]]] | None = None,
        greet: Callable[[Wire], Awaitable[None]] | None = None,
        name: str = "",
    ) -> None:
        """Reach the server that *options* name, or the one that *find* returns host and port of.

        *greet* has a new connection to itself before anybody else."""
        kept = {name: value for name, value in options.items() if not name.startswith(_DROPPED)}
        self._connection_class = connection_class
        self.timeout = float(kept.pop("timeout", 1.0))  # seconds, for the store
        self._options = kept | _OVERRIDDEN
        self.host = str(kept.get("host", "localhost"))
        self.port = int(kept.get("port") or 6379)
        self.database = int(kept.get("db") or 0)
        self._find = find
        self._greet = greet
        self._shown = name
        self.name = f"{name or _url(connection_class, kept)}, database {self.database}"

    @classmethod
    def of(cls, pool: ConnectionPool) -> "Dialer":
        """Return a dialer to where a lent pool of one server connects to; it is not used beyond this."""
        return cls(pool.connection_class, pool.connection_kwargs)

    @classmethod
    def to(
        cls,
        options: Mapping[str, Any],
        *,
        tls: bool = False,
        find: Callable[[], Awaitable[tuple[str, int]]] | None = None,
        name: str = "",
    ) -> "Dialer":
        """Return a dialer to the host or path in *options*, or to what *find* finds."""
        kind = UnixDomainSocketConnection if "path" in options else SSLConnection if tls else Connection
        return cls(kind, options, find=find, name=name)

    def greeting(self, greet: Callable[[Wire], Awaitable[None]]) -> "Dialer":
        """Return a dialer to the same, each connection of which begins with *greet*."""
        return Dialer(self._connection_class, self._options, find=self._find, greet=greet, name=self._shown)

    def at(self, host: str, port: int) -> "Dialer":
        """Return a dialer to another address, in the same way."""
        return Dialer(self._connection_class, {**self._options, "host": host, "port": port})

    @property
    def tls(self) -> bool:
        """Whether its connections are encrypted."""
        return issubclass(self._connection_class, SSLConnection)

    def __repr__(self) -> str:
        return f"<Dialer {self.name}>"

    async def dial(self, pushed: Callable[[Reply], None] | None) -> Wire:
        """Return an open connection; raises what redis-py and the network do, made `bare`."""
        options = self._options
        if self._find is not None:
            host, port = await self._find()
            options = {**options, "host": host, "port": port}
        connection = cast("RedisConnection", self._connection_class(**options))
        wire: Wire | None = None
        try:
            await connection.connect()
            wire = Wire(connection, pushed)
            if self._greet is not None:
                await self._greet(wire)
        except BaseException as error:  # noqa: BLE001 - raised again, without its frames
            await (connection.disconnect(nowait=True) if wire is None else wire.close())
            raise self.bare(error) from None
        return wire

    def bare(self, error: BaseException) -> BaseException:
        """Return *error* fit to be a cause: without frames, and without the credentials in its text.

        The frames of redis-py hold the options of the connection, and servers quote commands that
        they do not know, AUTH with its password too.
        """
        certificate = _certificate_trouble(error)
        error.__cause__ = error.__context__ = error.__traceback__ = None
        if certificate:
            error.args = (f"{certificate}; if its authority is your own name it with ssl_ca_certs",)
        if missing := missing_right(str(error)):
            error.args = (missing,)
        secrets = [str(self._options[name]) for name in _SECRETS if self._options.get(name)]
        if any(secret in str(error) for secret in secrets):
            error.args = ("not shown, because it quoted the credentials",)
        return error

    def unavailable(self, cause: BaseException, *, name: str = "") -> StoreUnavailable:
        """Return a new error about *cause*, which `bare` returned; *name*: of more than this server."""
        what = "no answer in time" if isinstance(cause, TimeoutError) else f"{type(cause).__name__}: {cause}"
        if isinstance(cause, Refused) and cause.code in {"MOVED", "CROSSSLOT", "ASK"}:
            what = f"it is one node of a cluster: name it as redis+cluster://… ({cause.code})"
        error = StoreUnavailable(f"{name or self.name}: {what}")
        error.__cause__ = cause
        return error


def _certificate_trouble(error: BaseException) -> str:
    """Return what was wrong with the certificate of a server, nothing if that was not what was wrong."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, SSLCertVerificationError):
        seen = seen.__cause__ or seen.__context__
    return "" if seen is None else f"the server's certificate is refused: {seen.verify_message}"


def _url(connection_class: type, options: Mapping[str, Any]) -> str:
    if "path" in options:
        return f"unix://{options['path']}"
    scheme = "rediss" if issubclass(connection_class, SSLConnection) else "redis"
    return f"{scheme}://{address_of(str(options.get('host', 'localhost')), options.get('port', 6379))}"


def address_of(host: str, port: int) -> str:
    """Return how an address is written."""
    return f"{f'[{host}]' if ':' in host else host}:{port}"
