"""The response half of an attempt: the hold, errors, whole answers, streams, what is metered."""

from __future__ import annotations

import json

import pytest

from control_plane.extproc import answer as module
from control_plane.pb.ext_proc_pb2 import ProcessingResponse
from tests.unit.extproc.conftest import Attempt
from tests.unit.extproc.fakes import STREAM

OK = {"content-type": "text/out-lines", "x-headgate-lane": "translation"}


def kinds(answers: list[ProcessingResponse]) -> list[str | None]:
    return [answer.WhichOneof("response") for answer in answers]


# ------------------------------------------------------------------------------------------------------------------ the hold
def test_stream_is_held_until_its_first_content(streaming: Attempt) -> None:
    assert streaming.body("start a\n") == []
    assert streaming.body("usage 3 0\nte") == []
    assert kinds(streaming.body("xt hello\n")) == ["response_headers", "response_body"]
    assert streaming.client_head == OK
    assert streaming.client_body == b"[hello]"
    assert not streaming.ended()


def test_head_is_answered_once_and_without_content_length(streaming: Attempt) -> None:
    (head, _), (piece,) = streaming.body("text a\n"), streaming.body("text b\n")
    assert list(head.response_headers.response.header_mutation.remove_headers) == ["content-length"]
    assert piece.WhichOneof("response") == "response_body"
    assert streaming.client_body == b"[a][b]"


@pytest.mark.parametrize("empty", ["stop why\n", "end\n"])
def test_answer_without_text_is_let_go_by_its_stop_or_end(streaming: Attempt, empty: str) -> None:
    streaming.body("start a\n")
    streaming.body(empty)
    assert streaming.client_head == OK


def test_hold_lets_go_after_too_many_events(streaming: Attempt) -> None:
    for _ in range(module.HOLD_EVENTS - 1):
        assert streaming.body("start a\n") == []
    streaming.body("start a\n")
    assert streaming.client_head == OK


def test_hold_lets_go_after_too_many_bytes(streaming: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HOLD_BYTES", 100)
    assert streaming.body("x" * 99) == []
    streaming.body("x")
    assert streaming.client_head == OK


@pytest.mark.parametrize(
    ("said", "failure", "status"),
    [
        ("error busy\n", "transient", "529"),
        ("start a\nerror busy\n", "transient", "529"),
        ("garbage\n", "unreadable", "503"),
        ("bug\n", "transient", "500"),
    ],
)
def test_failure_before_content_becomes_a_status_the_router_retries(streaming: Attempt, said: str, failure: str, status: str) -> None:
    streaming.body(said)
    head = streaming.client_head
    assert head is not None
    assert (head[":status"], head["x-headgate-failure"]) == (status, failure)
    assert head["content-type"] == "application/json"
    assert streaming.client_body == b""
    assert streaming.body("text late\nend\n", end=False) == []
    streaming.body("", end=True)
    assert json.loads(streaming.client_body)["kind"] == failure
    assert streaming.ended()
    assert streaming.metered is None


def test_error_that_is_the_clients_fault_is_not_sent_elsewhere(streaming: Attempt) -> None:
    streaming.body("fault bad tool\n", end=True)
    head = streaming.client_head
    assert head is not None
    assert head[":status"] == "400"
    assert "x-headgate-failure" not in head


@pytest.mark.parametrize("said", ["", "start a\n", "text unfinished"])
def test_cut_before_content_fails_over(streaming: Attempt, said: str) -> None:
    streaming.body(said, end=True)
    head = streaming.client_head
    assert head is not None
    assert (head[":status"], head["x-headgate-failure"]) == ("503", "unreadable")
    assert streaming.ended()
    assert streaming.tally.unreadable == 1


@pytest.mark.parametrize("headers", [{"content_type": "text/html"}, {"content_encoding": "gzip"}])
@pytest.mark.parametrize("end", [False, True])
def test_unreadable_head_fails_over_at_once(attempt: Attempt, headers: dict[str, str], end: bool) -> None:
    attempt.request(b'{"stream":true}')
    attempt.answers.clear()
    (answer,) = attempt.head(200, end=end, **headers)
    assert attempt.client_head is not None
    assert attempt.client_head[":status"] == "503"
    assert bool(answer.response_headers.response.body_mutation.body) is end


def test_answer_without_a_body_fails_over(attempt: Attempt) -> None:
    attempt.request(b"{}")
    attempt.answers.clear()
    attempt.head(200, end=True)
    assert attempt.client_head is not None
    assert attempt.client_head[":status"] == "503"
    assert json.loads(attempt.client_body)["kind"] == "unreadable"


# -------------------------------------------------------------------------------------------------------------- after content
@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("error busy\n", "overloaded"),
        ("garbage\n", "provider_answer_unreadable"),
        ("bug\n", "translation_failed"),
        ("fault x\n", "tool_use_failed"),
    ],
)
def test_break_after_content_ends_with_the_dialects_error_event(streaming: Attempt, said: str, code: str) -> None:
    streaming.body("usage 3 1\ntext a\n")
    streaming.body("text b\n" + said)
    assert streaming.client_body.endswith(f"[failed {code}]".encode())
    assert streaming.body("text c\n") == []
    streaming.body("", end=True)
    assert b"[done]" not in streaming.client_body
    assert streaming.ended()
    assert streaming.metered == {
        "usage": {"input": 3, "output": 1},
        "finish": None,
        "complete": False,
        "stream_error": code,
        "dropped": [],
    }


@pytest.mark.parametrize("piece", ["", "text unfinished"])
def test_cut_after_content_is_never_a_clean_end(streaming: Attempt, piece: str) -> None:
    streaming.body("text a\n")
    streaming.body(piece, end=True)
    assert streaming.client_body == b"[a][failed provider_answer_unreadable]"
    assert streaming.ended()


def test_whole_stream(streaming: Attempt) -> None:
    streaming.body("start a\ntext a\n")
    streaming.body("usage 3 5\nstop because\nend\n")
    assert streaming.client_body == b"[a][done]"
    assert not streaming.ended()
    streaming.body("", end=True)
    assert streaming.client_body == b"[a][done]"
    assert streaming.ended()
    assert streaming.metered == {
        "usage": {"input": 3, "output": 5},
        "finish": "because",
        "complete": True,
        "stream_error": None,
        "dropped": [],
    }
    assert streaming.tally.complete == 1


def test_what_follows_the_end_is_ignored(streaming: Attempt) -> None:
    streaming.body("text a\nend\ntext b\n")
    streaming.body("garbage\n", end=True)
    assert streaming.client_body == b"[a][done]"
    assert streaming.ended()


def test_stream_that_trailers_end(streaming: Attempt) -> None:
    streaming.body("text a\nend\n")
    *_, piece, trailers = streaming.trailers()
    assert not piece.response_body.response.body_mutation.streamed_response.end_of_stream
    assert piece.HasField("dynamic_metadata")
    assert trailers.WhichOneof("response") == "response_trailers"
    assert streaming.client_body == b"[a][done]"


def test_cut_stream_that_trailers_end(streaming: Attempt) -> None:
    assert kinds(streaming.trailers()) == ["response_headers", "response_body", "response_trailers"]
    assert streaming.client_head is not None
    assert streaming.client_head[":status"] == "503"
    assert json.loads(streaming.client_body)["kind"] == "unreadable"


@pytest.mark.parametrize("size", [1, 5, 17, 10_000])
def test_any_split_of_the_bytes_gives_the_same_answer(streaming: Attempt, size: int) -> None:
    said = "start a\n" + "".join(f"text {n}\n" for n in range(40)) + "usage 3 40\nstop ok\nend\n"
    for at in range(0, len(said), size):
        streaming.body(said[at : at + size])
    streaming.body("", end=True)
    assert streaming.client_body == b"".join(b"[%d]" % n for n in range(40)) + b"[done]"


@pytest.mark.parametrize("size", [0, 1, 100, 119, 120, 121, 122, 127, 128, 16_384, 70_000])
@pytest.mark.parametrize("end", [False, True])
def test_pieces_of_every_length_survive(streaming: Attempt, size: int, end: bool) -> None:
    text = "x" * size
    streaming.body(f"text {text}\n" + ("end\n" if end else ""), end=end)
    assert streaming.client_body == f"[{text}]".encode() + (b"[done]" if end else b"")
    assert streaming.ended() is end


# --------------------------------------------------------------------------------------------------------------------- usage
def test_usage_known_early_is_reported_with_the_head(streaming: Attempt) -> None:
    streaming.body("usage 7 0\ntext a\n")
    assert streaming.metered is not None
    assert streaming.metered["usage"] == {"input": 7, "output": 0}
    assert streaming.metered["complete"] is False


def test_changing_usage_is_reported_now_and_then(streaming: Attempt) -> None:
    streaming.body("text a\n")
    reports = [bool(streaming.body(f"usage 7 {n}\ntext a\n")[0].HasField("dynamic_metadata")) for n in range(2 * module.METER_EVERY)]
    assert 1 <= sum(reports) <= 3


def test_dropped_parameters_are_named(attempt: Attempt) -> None:
    attempt.request(b'{"stream":true,"dropped":["seed","top_k"]}')
    attempt.answers.clear()
    attempt.head()
    attempt.body("text a\nend\n", end=True)
    assert attempt.client_head == OK | {"x-headgate-dropped": "seed,top_k"}
    assert attempt.metered is not None
    assert attempt.metered["dropped"] == ["seed", "top_k"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["a\nx-evil: 1", "é,→", "a b\x00"], ["a?x-evil:?1", "???", "a?b?"]),
        (["x" * 101], ["x" * 100]),
        ([f"f{n}" for n in range(40)], [*(f"f{n}" for n in range(32)), "and-8-more"]),
    ],
)
def test_names_that_no_header_can_carry_are_made_fit(attempt: Attempt, names: list[str], shown: list[str]) -> None:
    """They are the client's own words; Envoy would refuse the whole answer because of them."""
    attempt.request(json.dumps({"stream": True, "dropped": names}).encode())
    attempt.answers.clear()
    attempt.head()
    attempt.body("text a\nend\n", end=True)
    assert attempt.client_head == OK | {"x-headgate-dropped": ",".join(shown)}
    assert attempt.metered is not None
    assert attempt.metered["dropped"] == shown


# ------------------------------------------------------------------------------------------------------------- whole answers
def test_whole_answer_is_written_at_its_end(whole: Attempt) -> None:
    assert whole.body("start a\ntext hello\n") == []
    assert whole.body("text world\nstop ok\nend\n") == []
    assert kinds(whole.body("", end=True)) == ["response_headers", "response_body"]
    assert whole.client_head == {"content-type": "application/out", "x-headgate-lane": "translation"}
    assert whole.client_body == b"hello+world"
    assert whole.ended()
    assert whole.metered is not None
    assert whole.metered["complete"] is True


@pytest.mark.parametrize("said", ["text hello\n", "text hello\nerror busy\n", "text hello\ngarbage\n"])
def test_whole_answer_that_breaks_fails_over_whatever_came_before(whole: Attempt, said: str) -> None:
    whole.body(said, end=True)
    head = whole.client_head
    assert head is not None
    assert "x-headgate-failure" in head
    assert b"hello" not in whole.client_body
    assert whole.ended()


def test_whole_answer_over_the_limit_fails_over(whole: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", 20)
    whole.body("text 456\n")
    whole.body("text 56789012345\n")
    assert whole.client_head is not None
    assert whole.client_head[":status"] == "503"


def test_stream_without_end_is_broken_off_with_an_error_event(streaming: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STREAM_BYTES", 20)
    for _ in range(4):
        streaming.body("text hello\n")
    assert streaming.client_head == OK
    assert streaming.client_body == b"[hello][hello][hello][failed provider_answer_unreadable]"
    got = streaming.client_body
    streaming.body("text late\nend\n", end=True)
    assert streaming.client_body == got
    assert streaming.ended()
    assert streaming.metered is not None
    assert (streaming.metered["complete"], streaming.metered["stream_error"]) == (False, "provider_answer_unreadable")


# ---------------------------------------------------------------------------------------------------------- provider's errors
def test_provider_error_is_written_in_the_clients_dialect(attempt: Attempt) -> None:
    attempt.request(b'{"stream":true}')
    attempt.answers.clear()
    assert attempt.head(429, content_type="application/json") == []
    assert attempt.body("slow ") == []
    attempt.body("down", end=True)
    assert attempt.client_head == {
        ":status": "429",
        "content-type": "application/json",
        "x-headgate-lane": "translation",
        "x-headgate-failure": "rate_limited",
        "x-headgate-fault": "rate_limited",
        "retry-after": "3",
    }
    assert json.loads(attempt.client_body) == {"kind": "rate_limited", "code": "provider_said_no", "param": None}
    assert attempt.ended()
    assert attempt.tally.provider_errors == 1


def test_providers_own_retry_after_is_kept(attempt: Attempt) -> None:
    attempt.request(b"{}")
    attempt.answers.clear()
    attempt.head(429, end=True, retry_after="60")
    assert attempt.client_head is not None
    assert "retry-after" not in attempt.client_head


def test_provider_error_that_is_the_clients_fault_goes_to_the_client(attempt: Attempt) -> None:
    attempt.request(b"{}")
    attempt.answers.clear()
    attempt.head(422)
    attempt.body("no", end=True)
    assert attempt.client_head is not None
    assert attempt.client_head[":status"] == "422"
    assert "x-headgate-failure" not in attempt.client_head


def test_huge_provider_error_is_judged_by_its_beginning(attempt: Attempt) -> None:
    attempt.request(b"{}")
    attempt.answers.clear()
    attempt.head(500)
    attempt.body("x" * module.ERROR_BYTES)
    assert attempt.client_head is not None
    assert not attempt.ended()
    attempt.body("x" * 1000)
    attempt.body("", end=True)
    assert attempt.ended()
    assert json.loads(attempt.client_body)["kind"] == "transient"


def test_provider_error_that_trailers_end(attempt: Attempt) -> None:
    attempt.request(b"{}")
    attempt.answers.clear()
    attempt.head(500)
    assert kinds(attempt.trailers()) == ["response_headers", "response_body", "response_trailers"]


@pytest.mark.parametrize("status", [100, 199, 301, 304])
def test_any_other_status_is_a_provider_error(attempt: Attempt, status: int) -> None:
    attempt.request(b"{}")
    attempt.answers.clear()
    attempt.head(status, end=True, content_type=STREAM)
    assert attempt.tally.provider_errors == 1
