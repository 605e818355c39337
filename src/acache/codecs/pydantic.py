"""Pydantic models, as JSON. Knows no store; imports pydantic only when a codec is made."""

from collections.abc import Callable
from typing import Any

from acache.codecs._typed import MAX_BYTES, TypedCodec, UnresolvedType, describe, unencodable
from acache.errors import CodecError, ConfigurationError

__all__ = ["PydanticCodec"]


class PydanticCodec(TypedCodec):
    """JSON by pydantic, validated into the annotation: models, and whatever a `TypeAdapter` takes.

    Models are validated again on every read, so a validator must accept what it returned; aliases play
    no part. Excluded fields and private attributes are not stored, nor NaN where the model writes it as
    null: compare with `same`.
    """

    name: str = "pydantic"

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        """Make a codec; raise ConfigurationError if pydantic is not installed."""
        try:
            import pydantic
            import pydantic_core
        except ImportError as error:
            raise ConfigurationError(
                'codec="pydantic" needs pydantic: pip install "acache-core[pydantic]"'
            ) from error
        super().__init__(max_bytes=max_bytes)
        self._adapter: Any = pydantic.TypeAdapter
        self._undefined = pydantic.errors.PydanticUndefinedAnnotation
        self._write = pydantic_core.to_json

    def encode(self, value: object) -> bytes:
        """Return *value* as JSON; raise CodecError if it has no such form."""
        try:
            return self._write(value, by_alias=False, round_trip=True)
        except Exception as error:  # noqa: BLE001 - serializers of the model ran
            raise unencodable(self.name, value, error) from None

    def _compile(self, type: object) -> Callable[[bytes], object]:
        try:
            validate: Callable[..., object] = self._adapter(type).validate_json
        except self._undefined as error:
            raise UnresolvedType(f"{describe(type)} names a type that is not defined: {error}") from error
        except Exception as error:
            raise CodecError(f"pydantic cannot validate {describe(type)}: {error}") from error
        return lambda data: validate(data, by_alias=False, by_name=True)
