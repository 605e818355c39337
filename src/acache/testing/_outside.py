"""Refuse what a simulation cannot hold: sockets, threads, subprocesses, signals. Knows no schedule."""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn


class OutsideWorld(RuntimeError):
    """The simulated code reached for the real world; the message names the call."""


def _refusal(call: str, kind: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise OutsideWorld(
            f"loop.{call}() needs {kind}, and a SimLoop has none: hand the code a fake instead"
        )

    return refuse


class NoOutsideLoop(asyncio.BaseEventLoop):
    """An event loop without a selector, whose doors to the operating system all raise `OutsideWorld`."""

    _stopping: bool
    _thread_id: int | None

    run_in_executor: Any = _refusal("run_in_executor", "threads")
    getaddrinfo: Any = _refusal("getaddrinfo", "a resolver")
    getnameinfo: Any = _refusal("getnameinfo", "a resolver")
    create_connection: Any = _refusal("create_connection", "sockets")
    create_server: Any = _refusal("create_server", "sockets")
    create_datagram_endpoint: Any = _refusal("create_datagram_endpoint", "sockets")
    create_unix_connection: Any = _refusal("create_unix_connection", "sockets")
    create_unix_server: Any = _refusal("create_unix_server", "sockets")
    add_reader: Any = _refusal("add_reader", "sockets")
    add_writer: Any = _refusal("add_writer", "sockets")
    sock_recv: Any = _refusal("sock_recv", "sockets")
    sock_sendall: Any = _refusal("sock_sendall", "sockets")
    sock_connect: Any = _refusal("sock_connect", "sockets")
    sock_accept: Any = _refusal("sock_accept", "sockets")
    connect_read_pipe: Any = _refusal("connect_read_pipe", "pipes")
    connect_write_pipe: Any = _refusal("connect_write_pipe", "pipes")
    subprocess_exec: Any = _refusal("subprocess_exec", "subprocesses")
    subprocess_shell: Any = _refusal("subprocess_shell", "subprocesses")
    add_signal_handler: Any = _refusal("add_signal_handler", "signals")
