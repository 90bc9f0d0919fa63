"""Google's token endpoint, its security token service and a machine's metadata server.

Sources: RFC 7523 and developers.google.com/identity/protocols/oauth2/service-account, RFC 8693 and
cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token, cloud.google.com/compute/docs/metadata/overview.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.clouds.server import Answer, Asked, TokenService, as_json

EMAIL = "gateway@project-one.iam.gserviceaccount.com"
METADATA = ("Metadata-Flavor", "Google")
AUDIENCE = "https://oauth2.googleapis.com/token"  # whatever the token_uri of a key file says
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class GoogleTokens(TokenService):
    """All three on one port."""

    def __init__(self, *, lifetime_s: int = 3600) -> None:
        super().__init__(lifetime_s=lifetime_s)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.subject_token = "subject-canary-eyJhbGciOiJSUzI1NiJ9"
        self.audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k8s"

    def write_service_account(self, path: Path) -> Path:
        """A key file as the console downloads it."""
        pem = self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        info = {
            "type": "service_account",
            "project_id": "project-one",
            "private_key_id": "0123456789abcdef",
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "1234567890",
            "token_uri": f"{self.url}/token",
        }
        path.write_text(json.dumps(info))
        return path

    def write_workload_identity(self, path: Path) -> Path:
        """A federation configuration that reads its subject token from a file."""
        subject = path.with_suffix(".token")
        subject.write_text(self.subject_token)
        info = {
            "type": "external_account",
            "audience": self.audience,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.url}/v1/token",
            "credential_source": {"file": str(subject)},
        }
        path.write_text(json.dumps(info))
        return path

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/token" and asked.method == "POST":
            return self._service_account(asked.form)
        if asked.path == "/v1/token" and asked.method == "POST":
            return self._exchange(asked.form)
        return self._metadata(asked)

    def _service_account(self, form: dict[str, str]) -> Answer:
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return as_json({"error": "unsupported_grant_type", "error_description": "Invalid grant_type"}, 400)
        head, _, rest = form.get("assertion", "").partition(".")
        body, _, signature = rest.partition(".")
        try:
            self.key.public_key().verify(_decode(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return as_json({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
        claims = json.loads(_decode(body))
        if claims["iss"] != EMAIL or claims["aud"] != AUDIENCE or not claims["iat"] - 60 < time.time() < claims["exp"]:
            return as_json({"error": "invalid_grant", "error_description": "Invalid JWT: claims do not match."}, 400)
        if not claims.get("scope"):
            return as_json({"error": "invalid_scope", "error_description": "Invalid OAuth scope or ID token audience provided."}, 400)
        return self._grant("ya29.sa")

    def _exchange(self, form: dict[str, str]) -> Answer:
        if form.get("grant_type") != EXCHANGE or form.get("audience") != self.audience:
            return as_json({"error": "invalid_request", "error_description": 'Invalid value for "audience".'}, 400)
        if form.get("subject_token") != self.subject_token:
            return as_json(
                {"error": "invalid_grant", "error_description": "The given credential is rejected by the attribute condition."}, 400
            )
        return self._grant("ya29.d", issued_token_type="urn:ietf:params:oauth:token-type:access_token")

    def _metadata(self, asked: Asked) -> Answer:
        if asked.headers.get("metadata-flavor") != "Google":
            return Answer(403, b"Missing required header: Metadata-Flavor", (("content-type", "text/html"),))
        root = "/computeMetadata/v1"
        account = f"{root}/instance/service-accounts/default/"
        if asked.path == f"{account}token":
            return self._grant("ya29.m")
        if asked.path == account:
            return as_json(
                {"aliases": ["default"], "email": EMAIL, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}, 200, METADATA
            )
        texts = {"/": "computeMetadata/", f"{root}/project/project-id": "project-one", f"{root}/universe/universe-domain": "googleapis.com"}
        if asked.path in texts:
            return Answer(200, texts[asked.path].encode(), (("content-type", "application/text"), METADATA))
        return Answer(404, b"not found", (("content-type", "text/html"), METADATA))

    def _grant(self, kind: str, **more: Any) -> Answer:
        granted = {"access_token": self.token(kind), "expires_in": self.lifetime_s, "token_type": "Bearer", **more}
        return as_json(granted, 200, METADATA)


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
