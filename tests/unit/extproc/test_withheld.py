"""An answer that a content filter withheld whole: another target's, where the route wants that and one is left; else the client's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.dialects.api import TargetFacts
from control_plane.extproc.exchange import Exchange
from control_plane.extproc.facts import Facts
from control_plane.extproc.tally import Tally
from control_plane.pb.ext_proc_pb2 import ProcessingRequest
from tests.unit.extproc.conftest import Attempt
from tests.unit.extproc.fakes import Ids, LineDialect


def attempt(number: int, until: int, *, stream: bool) -> Attempt:
    dialect, tally = LineDialect(), Tally()
    facts = replace(Facts(dialect, dialect, "prov/model", TargetFacts("up-model", "/up/path")), withheld_until=until)
    one = Attempt(Exchange(facts, Ids(), tally), tally)
    head = ProcessingRequest()
    head.request_headers.headers.headers.add(key="x-envoy-attempt-count", raw_value=str(number).encode())
    one.say(head)
    one.request_body(b'{"stream":true}' if stream else b'{"stream":false}', end=True)
    one.head()
    one.answers.clear()
    return one


@pytest.mark.parametrize("stream", [True, False])
def test_it_moves_on_while_an_attempt_is_left(stream: bool) -> None:
    one = attempt(1, 2, stream=stream)
    one.body("start a\nwithheld safety\nend\n", end=True)
    assert one.client_head is not None
    assert (one.client_head[":status"], one.client_head["x-headgate-fault"]) == ("400", "content_policy")
    assert "x-headgate-failure" not in one.client_head


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("number", "until"), [(1, 0), (2, 2), (3, 2)])
def test_the_last_one_and_any_of_a_route_that_does_not_ask_is_the_clients(stream: bool, number: int, until: int) -> None:
    one = attempt(number, until, stream=stream)
    one.body("start a\nwithheld safety\nend\n", end=True)
    assert one.client_head is not None
    assert ":status" not in one.client_head
    assert one.metered is not None
    assert one.metered["finish"] == "safety"


def test_what_was_said_before_is_the_clients() -> None:
    one = attempt(1, 2, stream=False)
    one.body("start a\ntext well\nwithheld safety\nend\n", end=True)
    assert one.client_head is not None
    assert ":status" not in one.client_head
