"""Whether a write-ahead log lost what was committed. Pure: bytes in, a verdict out.

SQLite reads a log up to the first frame whose checksum is wrong and ignores the rest: right for the
frames of a transaction that a crash interrupted, a silent loss of everything later if a bit has
flipped. The two can be told apart: a commit waits for its fsync, so frames that follow a whole
transaction prove that it was durable. Format: https://www.sqlite.org/fileformat2.html#walformat."""

import struct

_HEADER = 32
_FRAME = 24
_MAGIC = 0x377F0682  # its last bit says in which byte order the checksums were computed
_MASK = 0xFFFFFFFF


def is_damaged(log: bytes) -> bool:
    """Return whether SQLite would drop transactions of *log* that were durable once.

    A log whose last transaction is broken is not damaged: it was never acknowledged."""
    if len(log) <= _HEADER:
        return False
    magic, _, size, _, *salts, first, second = struct.unpack_from(">8I", log)
    order = ">" if magic & 1 else "<"
    chain = _checksum(log[: _HEADER - 8], (0, 0), order)
    if magic & ~1 != _MAGIC or chain != (first, second):
        return True  # the header is synced before the first frame
    frames = range(_HEADER, len(log) - _FRAME - size + 1, _FRAME + size)
    whole = True
    complete = False  # a transaction ended after the first broken frame
    for start in frames:
        _, commit, *found = struct.unpack_from(">6I", log, start)
        ours = found[:2] == salts  # others are left over from before the log was last rewound
        if whole and ours:
            page = log[start + _FRAME : start + _FRAME + size]
            chain = _checksum(log[start : start + 8] + page, chain, order)
            whole = chain == tuple(found[2:])
        elif whole:
            whole = False
        if not whole and ours:
            if complete:
                return True
            complete = commit != 0
    return False


def _checksum(data: bytes, chain: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = chain
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for left, right in zip(words, words, strict=True):
        first = (first + left + second) & _MASK
        second = (second + right + first) & _MASK
    return first, second
