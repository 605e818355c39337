"""What stands under one name: an entry or version, and the claims on it. Pure: no clock, no connection.

The rules are those of `acache.protocols.Leases`: one lease or any number of fences; whoever changes the
name ends the lease or taints the fences; a token may store only while it is present, alone and untainted."""

from typing import Final

import msgspec


class Record(msgspec.Struct, array_like=True):
    """One name. Times are seconds of one clock; what has ended is as if it were not there."""

    data: bytes | None = None
    until: float = 0.0  # when `data` ends
    tokens: dict[str, float] = {}  # in hexadecimal, each with the time at which it ends
    shared: bool = False  # the tokens are fences, else one lease
    tainted: bool = False

    def at(self, now: float) -> "Record":
        """Return what is left of it at *now*."""
        alive = self.data is not None and self.until > now
        tokens = {token: until for token, until in self.tokens.items() if until > now}
        return Record(
            data=self.data if alive else None,
            until=self.until if alive else 0.0,
            tokens=tokens,
            shared=self.shared and bool(tokens),
            tainted=self.tainted and bool(tokens),
        )

    @property
    def ends(self) -> float:
        """When nothing of it is left."""
        return max((self.until, *self.tokens.values()))

    # --- what it says ---

    def holds(self, token: bytes) -> bool:
        """Tell whether *token* has a claim."""
        return token.hex() in self.tokens

    def sole(self, token: bytes) -> bool:
        """Tell whether *token* may store."""
        return list(self.tokens) == [token.hex()] and not self.tainted

    # --- how it changes ---

    def store(self, data: bytes, until: float) -> None:
        """Hold *data*, whatever claims stand."""
        self.data, self.until = data, until

    def forget(self) -> None:
        """Hold nothing."""
        self.data, self.until = None, 0.0

    def taint(self) -> None:
        """Note that it was changed by somebody without a claim."""
        if self.shared:
            self.tainted = True
        else:
            self.tokens = {}

    def lease(self, token: bytes, until: float) -> bool:
        """Make *token* the only loader; False under a fence or another's lease."""
        if self.shared or (self.tokens and not self.holds(token)):
            return False
        self.prolong(token, until)
        return True

    def fence(self, token: bytes, until: float) -> None:
        """Let *token* keep others from storing."""
        if not self.shared:
            self.tokens, self.shared, self.tainted = {}, True, False
        elif list(self.tokens) != [token.hex()]:
            self.tainted = True
        self.forget()
        self.prolong(token, until)

    def prolong(self, token: bytes, until: float) -> None:
        """Let a claim last until then, never shorter than before."""
        self.tokens[token.hex()] = max(until, self.tokens.get(token.hex(), until))

    def release(self, token: bytes) -> None:
        """End *token*'s claim; the taint ends with the last."""
        self.tokens.pop(token.hex(), None)
        if not self.tokens:
            self.shared = self.tainted = False


pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(Record).decode


def unpack(data: bytes | None, now: float) -> Record:
    """Return the record in *data* as it is at *now*; an empty one where there is none of ours."""
    if data is None:
        return Record()
    try:
        return _unpack(data).at(now)
    except msgspec.MsgspecError:
        return Record()
