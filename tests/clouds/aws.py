"""AWS's token service (query protocol, XML), an instance's metadata service (version 2) and a container's.

Sources: docs.aws.amazon.com/STS/latest/APIReference, docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html,
docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html.
"""

from __future__ import annotations

import datetime
import time
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.clouds.server import Answer, Asked, TokenService, as_json

ROLE = "arn:aws:iam::123456789012:role/gateway"
ACCESS_KEY, SECRET_KEY = "AKIACANARY0000000001", "aws+secret/canary0000000000000000000001"
NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


class Unlike(Exception):
    """A signature that is not the one that was expected; the text is the canonical request that was signed here."""


class _AllNamed(SigV4Auth):  # type: ignore[misc]
    """Signs exactly the headers of the request."""

    def headers_to_sign(self, request: AWSRequest) -> object:
        from botocore.compat import HTTPHeaders

        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers[name.lower()] = value
        return headers


def check_signature(asked: Asked, raw_path: str, host: str, keys: Credentials, service: str, region: str) -> tuple[str, ...]:
    """The names of the signed headers of a request with a good signature, by botocore's own signer. Raises Unlike."""
    authorization = asked.headers.get("authorization", "")
    if not authorization.startswith("AWS4-HMAC-SHA256 "):
        raise Unlike(f"no signature: {authorization[:20]}")
    parts = dict(part.strip().split("=", 1) for part in authorization.removeprefix("AWS4-HMAC-SHA256 ").split(","))
    signed = [name for name in parts["SignedHeaders"].split(";") if name]
    when = asked.headers["x-amz-date"]
    if abs(datetime.datetime.strptime(when, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp() - time.time()) > 300:
        raise Unlike(f"signed at {when}")
    if parts["Credential"] != f"{keys.access_key}/{when[:8]}/{region}/{service}/aws4_request":
        raise Unlike(parts["Credential"])
    if (asked.headers.get("x-amz-security-token") or None) != (keys.token or None):
        raise Unlike("another session token")
    headers = {name: asked.headers[name] for name in signed}
    request = AWSRequest(asked.method, f"https://{host}{raw_path}", data=asked.body, headers=headers)
    request.context["timestamp"] = when
    signer = _AllNamed(keys, service, region)
    canonical = signer.canonical_request(request)
    if signer.signature(signer.string_to_sign(request, canonical), request) != parts["Signature"]:
        raise Unlike(canonical)
    return tuple(signed)


class AwsTokens(TokenService):
    """All of them on one port."""

    def __init__(self, *, lifetime_s: int = 3600) -> None:
        super().__init__(lifetime_s=lifetime_s)
        self.web_token = "web-canary-eyJhbGciOiJSUzI1NiJ9"
        self.container_token = "container-canary"
        self.external_id: str | None = None
        self.temporary: dict[str, tuple[str, str]] = {}
        """Secret and session token by access key."""

    def answer(self, asked: Asked) -> Answer:
        if asked.method == "PUT" and asked.path == "/latest/api/token":
            return Answer(200, b"imds-session", (("content-type", "text/plain"),))
        if asked.path.startswith("/latest/meta-data/iam/security-credentials/"):
            return self._instance(asked)
        if asked.path == "/container":
            if asked.headers.get("authorization") != self.container_token:
                return as_json({"message": "forbidden"}, 403)
            return as_json({"RoleArn": ROLE, **self._temporary()})
        return self._sts(asked)

    def _instance(self, asked: Asked) -> Answer:
        if asked.headers.get("x-aws-ec2-metadata-token") != "imds-session":
            return Answer(401, b"", (("content-type", "text/plain"),))
        if asked.path.endswith("/security-credentials/"):
            return Answer(200, b"gateway", (("content-type", "text/plain"),))
        return as_json({"Code": "Success", "LastUpdated": _stamp(time.time()), "Type": "AWS-HMAC", **self._temporary()})

    def _sts(self, asked: Asked) -> Answer:
        form = asked.form
        action = form.get("Action", "")
        if form.get("Version") != "2011-06-15":
            return _error(400, "InvalidAction", "no such version")
        if action == "AssumeRoleWithWebIdentity":
            if form.get("WebIdentityToken") != self.web_token:
                return _error(400, "InvalidIdentityToken", f"Couldn't retrieve verification key for {form.get('WebIdentityToken')}")
        elif action == "AssumeRole":
            try:
                check_signature(asked, asked.path, asked.headers["host"], Credentials(ACCESS_KEY, SECRET_KEY), "sts", "eu-central-1")
            except Unlike:
                return _error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match")
            if form.get("ExternalId") != self.external_id:
                return _error(403, "AccessDenied", "User is not authorized to perform: sts:AssumeRole")
        else:
            return _error(400, "InvalidAction", f"Could not find operation {action}")
        if form.get("RoleArn") != ROLE:
            return _error(403, "AccessDenied", "Not authorized to perform sts:AssumeRole")
        keys = self._temporary()
        names = {"AccessKeyId": "AccessKeyId", "SecretAccessKey": "SecretAccessKey", "SessionToken": "Token", "Expiration": "Expiration"}
        fields = "".join(f"<{theirs}>{escape(keys[ours])}</{theirs}>" for theirs, ours in names.items())
        who = f"<AssumedRoleUser><Arn>{ROLE}</Arn><AssumedRoleId>A:{form['RoleSessionName']}</AssumedRoleId></AssumedRoleUser>"
        text = (
            f'<{action}Response xmlns="{NAMESPACE}"><{action}Result><Credentials>{fields}</Credentials>{who}</{action}Result>'
            f"<ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></{action}Response>"
        )
        return Answer(200, text.encode(), (("content-type", "text/xml"),))

    def _temporary(self) -> dict[str, str]:
        token = self.token("session")
        key, secret = f"ASIACANARY{self.issued:010d}", f"temporary/-canary-{self.issued:022d}"
        self.temporary[key] = (secret, token)
        return {
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": _stamp(time.time() + self.lifetime_s),
        }


def _stamp(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _error(status: int, code: str, text: str) -> Answer:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
    body = f'<ErrorResponse xmlns="{NAMESPACE}">{error}</ErrorResponse>'
    return Answer(status, body.encode(), (("content-type", "text/xml"),))
