"""Say where a task stands, for a person. Knows nothing of any event loop."""

import asyncio
from pathlib import PurePath
from types import FrameType
from typing import Any, Final

_ASYNCIO: Final = str(PurePath(asyncio.__file__).parent)


def coroutine_name(task: "asyncio.Task[Any]") -> str:
    """Return the bare name of the function that the task runs."""
    return getattr(task.get_coro(), "__name__", None) or "task"


def standing_at(task: "asyncio.Task[Any]") -> str:
    """Return "file.py:12 in function" for the innermost of the task's awaits that is not asyncio's own."""
    awaiting: Any = task.get_coro()
    place = "its start" if awaiting is not None else "an unknown place"
    while awaiting is not None:
        frame: FrameType | None = getattr(awaiting, "cr_frame", None) or getattr(awaiting, "gi_frame", None)
        if frame is None:
            break
        if not frame.f_code.co_filename.startswith(_ASYNCIO):
            place = f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaiting = getattr(awaiting, "cr_await", None) or getattr(awaiting, "gi_yieldfrom", None)
    return place
