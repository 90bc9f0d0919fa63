"""A vendor behind a cloud's sign-in: any JSON request is answered as chat completions are, if its credential is good right now."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.clouds.server import Answer, Asked, TokenService, as_json

Check = Callable[[Asked], str]
"""Who asks, as the vendor knows it. Raises for a bad credential."""


class CloudVendor(TokenService):
    """`callers` are the good ones, in order; `refused` the reasons of the others. `fail_next` answers so many 503 after the check."""

    def __init__(self, check: Check) -> None:
        super().__init__()
        self.check = check
        self.callers: list[str] = []
        self.refused: list[str] = []
        self.fail_next = 0

    def answer(self, asked: Asked) -> Answer:
        try:
            self.callers.append(self.check(asked))
        except Exception as error:
            self.refused.append(str(error))
            return as_json({"error": {"message": "who are you?", "type": "authentication_error", "code": "401"}}, 401)
        if self.fail_next > 0:
            self.fail_next -= 1
            return as_json({"error": {"message": "busy", "type": "server_error"}}, 503)
        body = json.loads(asked.body)
        said = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": body.get("model", "m"),
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "heard: you", "refusal": None}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }
        return as_json(said)


def bearer_of(service: TokenService) -> Check:
    """Takes the tokens that `service` gave out and that have not ended."""

    def check(asked: Asked) -> str:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            raise PermissionError(f"no bearer: {scheme!r}")
        service.check_token(token)
        return token

    return check
