"""The proof by made-up input: a slice of each part, and that each would notice."""

import os
import pickle
from random import Random

import pytest

from acache._envelope import Sealer
from acache.errors import CodecError
from proofs import _fuzz_bytes, _fuzz_journal, _fuzz_text, fuzz
from proofs.__main__ import main

pytestmark = pytest.mark.slow
SLICE = {"damaged": 10_000, "hostile": 500, "keys": 1_000, "templates": 500, "urls": 1_000, "journals": 8}


@pytest.mark.parametrize(("part", "count"), SLICE.items(), ids=SLICE)
def test_a_slice_of_it_holds(part, count):
    found = fuzz.attempt((part, 1_000, count))
    assert found.clean, found
    assert found.attempts == count


def test_the_table_says_pass_and_a_json_file_the_rest(capsys, tmp_path):
    told = tmp_path / "figures.json"
    assert main(["fuzz", "--only=templates", "--scale=0.01", "--workers=0", f"--json={told}"]) == 0
    assert "PASS" in capsys.readouterr().out
    assert '"proof": "fuzz"' in told.read_text(encoding="utf-8")


# --- that each would notice -------------------------------------------------------------------------


def test_an_envelope_without_a_check_is_noticed(monkeypatch):
    monkeypatch.setattr(Sealer, "_checksum", lambda self, place, body: bytes(4))
    assert _fuzz_bytes.damaged(0, 3_000).accepted


def test_a_codec_that_lets_errors_through_is_noticed(monkeypatch):
    def read(packer, key, data, type, found, *, read=_fuzz_bytes._read):
        if len(data) % 7 == 0:
            found.foreign["ValueError: it"] += 1
        else:
            read(packer, key, data, type, found)

    monkeypatch.setattr(_fuzz_bytes, "_read", read)
    assert not _fuzz_bytes.damaged(0, 1_000).clean


def test_code_that_runs_is_noticed():
    assert not _fuzz_bytes._exploded()
    try:
        pickle.loads(pickle.dumps(_fuzz_bytes.Bomb()))
        assert _fuzz_bytes._exploded()
    finally:
        os.unsetenv(_fuzz_bytes.CANARY)


def test_two_arguments_with_one_key_are_noticed(monkeypatch):
    monkeypatch.setattr(_fuzz_text.Cache, "key", lambda self, template, *arguments: str(arguments[0])[:1])
    assert _fuzz_text.keys(0, 500).accepted


def test_a_write_that_comes_back_changed_is_noticed(monkeypatch):
    async def recover(folder):
        return [_fuzz_journal.WRITES[0].__class__(key="x", id=b"", payload=b"", tags=(), sequence=1, at=0.0)]

    monkeypatch.setattr(_fuzz_journal, "_recover", recover)
    assert _fuzz_journal.journals(0, 1).accepted == 1


def test_every_codec_is_attacked_signed_and_not_but_for_pickle():
    kinds = {(name, signed) for _, _, name, signed in _fuzz_bytes._packers()}
    assert len(kinds) == 2 * len(_fuzz_bytes.BUILTIN) - 1
    assert ("pickle", False) not in kinds


def test_every_damage_changes_what_it_is_given():
    packer, *_ = _fuzz_bytes._packers()[0]
    data = _fuzz_bytes._sealed(packer, "k", "text " * 20, str)
    other = _fuzz_bytes._sealed(packer, "l", "other", str)
    for damage in _fuzz_bytes.DAMAGES:
        broken = [damage(data, Random(seed), other) for seed in range(20)]
        assert any(each != data for each in broken), damage
    with pytest.raises(CodecError):
        packer.open("other key", data)
