"""A Secret does not leak by any of the ways in which objects usually get written out."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import msgspec
import pytest
import yaml

from control_plane.credentials.secret import Secret

TEXT = "sk-VERYSECRET-1234"


@dataclasses.dataclass
class Holder:
    secret: Secret
    others: list[Secret]


def test_the_text_is_there_when_asked_for() -> None:
    assert Secret(TEXT).reveal() == TEXT


def test_nothing_prints_it(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(TEXT)
    holder = Holder(secret, [secret])
    logging.getLogger("test").error("%s %r", secret, holder)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", f"{secret:>40}", str([secret]), str(holder), caplog.text]
    shown += [repr(vars(holder)), str(dataclasses.asdict(holder)), str(dir(secret))]
    assert not [text for text in shown if TEXT in text]
    assert f"{secret:>12}" == " Secret(***)"


def test_it_is_in_no_traceback() -> None:
    secret = Secret(TEXT)
    try:
        raise ValueError(secret)
    except ValueError as error:
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert not [line for line in lines if TEXT in line]


@pytest.mark.parametrize("write", [pickle.dumps, json.dumps, msgspec.json.encode, msgspec.msgpack.encode, yaml.safe_dump, yaml.dump])
def test_nothing_writes_it(write: object) -> None:
    with pytest.raises((TypeError, yaml.YAMLError)) as caught:
        write([Secret(TEXT)])  # type: ignore[operator]
    assert TEXT not in str(caught.value)


def test_copies_are_the_secret_itself_and_it_does_not_change() -> None:
    secret = Secret(TEXT)
    assert copy.copy(secret) is secret
    assert copy.deepcopy(Holder(secret, [])).secret is secret
    with pytest.raises(AttributeError):
        secret.text = "other"
    with pytest.raises(TypeError):
        vars(secret)


def test_equality_and_fingerprint() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert hash(Secret(TEXT)) == hash(Secret(TEXT))
    assert Secret(TEXT) != Secret(TEXT + "x")
    assert Secret(TEXT) != TEXT
    assert Secret(TEXT).fingerprint() == Secret(TEXT).fingerprint() != Secret("other").fingerprint()
    assert len(Secret(TEXT).fingerprint()) == 32
