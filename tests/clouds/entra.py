"""Microsoft Entra's token endpoint (v2.0) and Azure's instance metadata service.

Sources: learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow and
learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token.
"""

from __future__ import annotations

import ssl
import time

from tests.clouds.server import Answer, Asked, TokenService, as_json

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
SECRET = "entra~client-secret.canary"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class EntraTokens(TokenService):
    """Login (over TLS, as its clients insist) with one application, which has a secret and trusts one federated token."""

    def __init__(self, tls: ssl.SSLContext, *, lifetime_s: int = 3600) -> None:
        super().__init__(lifetime_s=lifetime_s, tls=tls)
        self.secret = SECRET
        self.federated = "federated-canary-eyJhbGciOiJSUzI1NiJ9.eyJzdWIi"

    def answer(self, asked: Asked) -> Answer:
        if asked.path.endswith("/.well-known/openid-configuration"):
            root = f"{self.url}/{TENANT}"
            return as_json(
                {
                    "token_endpoint": f"{root}/oauth2/v2.0/token",
                    "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                    "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
                    "jwks_uri": f"{root}/discovery/v2.0/keys",
                    "issuer": f"{root}/v2.0",
                }
            )
        if asked.path != f"/{TENANT}/oauth2/v2.0/token":
            return _refused(400, "invalid_request", 90002, "Tenant was not found. Check to make sure you have the correct tenant ID")
        form = asked.form
        if form.get("client_id") != CLIENT:
            return _refused(400, "unauthorized_client", 700016, "Application was not found in the directory")
        if form.get("grant_type") != "client_credentials" or not form.get("scope", "").endswith("/.default"):
            return _refused(400, "invalid_scope", 1002012, "The provided value for scope is not valid")
        if "client_assertion" in form:
            good = form["client_assertion"] == self.federated and form.get("client_assertion_type") == ASSERTION_TYPE
            if not good:
                return _refused(401, "invalid_client", 700213, f"No matching federated identity for {form['client_assertion']}")
        elif form.get("client_secret") != self.secret:
            # The real one does not quote it; a worse service may.
            return _refused(401, "invalid_client", 7000215, f"Invalid client secret provided: {form.get('client_secret')}")
        granted = {
            "token_type": "Bearer",
            "expires_in": self.lifetime_s,
            "ext_expires_in": self.lifetime_s,
            "access_token": self.token("entra"),
        }
        return as_json(granted)


class AzureMetadata(TokenService):
    """A machine's own identity."""

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("metadata", "").lower() != "true":
            return as_json({"error": "invalid_request", "error_description": "Required metadata header not specified"}, 400)
        if asked.path != "/metadata/identity/oauth2/token" or asked.query.get("api-version") != "2018-02-01":
            return as_json({"error": "invalid_request", "error_description": "api-version not supported"}, 400)
        if asked.query.get("client_id", CLIENT) != CLIENT:
            return as_json({"error": "invalid_request", "error_description": "Identity not found"}, 400)
        now = int(time.time())
        granted = {
            "access_token": self.token("imds"),
            "client_id": CLIENT,
            "expires_in": str(self.lifetime_s),
            "expires_on": str(now + self.lifetime_s),
            "ext_expires_in": str(self.lifetime_s),
            "not_before": str(now),
            "resource": asked.query.get("resource", ""),
            "token_type": "Bearer",
        }
        return as_json(granted)


def _refused(status: int, error: str, code: int, text: str) -> Answer:
    body = {
        "error": error,
        "error_description": f"AADSTS{code}: {text}. Trace ID: 0 Correlation ID: 0 Timestamp: 2026-01-01 00:00:00Z",
        "error_codes": [code],
        "timestamp": "2026-01-01 00:00:00Z",
        "trace_id": "0",
        "correlation_id": "0",
    }
    return as_json(body, status)
