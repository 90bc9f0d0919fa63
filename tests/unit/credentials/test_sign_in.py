"""Sign-ins with the clouds' own libraries, against token services on loopback that answer as the real ones do."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.credentials.references import check_references, fingerprint, referenced_files
from control_plane.credentials.resolve import Missing
from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.credentials.sign_in import source as sources
from control_plane.credentials.sign_in.source import Source, source_of
from control_plane.credentials.sign_in.token import SignInError, Token
from control_plane.spec.load import load
from control_plane.spec.models import Provider, SpecSet
from tests.clouds.aws import ACCESS_KEY, ROLE, SECRET_KEY, AwsTokens
from tests.clouds.entra import CLIENT, SECRET, TENANT, AzureMetadata, EntraTokens
from tests.clouds.google import GoogleTokens
from tests.clouds.server import Answer, make_authority

HEADER = "apiVersion: headgate.dev/v1alpha1\nkind: Provider\nmetadata: {name: p}\n"


def specs_of(folder: Path, credential: str) -> SpecSet:
    (folder / "p.yaml").write_text(HEADER + f"spec: {{preset: openai, allowInsecure: true, credentials: [{credential}]}}\n")
    loaded = load(folder / "p.yaml")
    assert loaded.ok, loaded.findings
    return loaded.specs


def provider_of(folder: Path, credential: str) -> Provider:
    return specs_of(folder, credential).providers[0]


def sign_in(folder: Path, credential: str, environ: dict[str, str] | None = None) -> Token:
    source = source_of(provider_of(folder, credential), environ or {})
    assert isinstance(source, Source), source
    return source.fetch()


def bearer(token: Token) -> str:
    assert isinstance(token.value, Secret)
    return token.value.reveal()


def keys(token: Token) -> SigningKeys:
    assert isinstance(token.value, SigningKeys)
    return token.value


@pytest.fixture(autouse=True)
def no_cloud_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The machine that runs the tests may have an identity of its own."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "GCE_", "IDENTITY_", "MSI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))


# ---------------------------------------------------------------------- Google
@pytest.fixture
def google() -> Iterator[GoogleTokens]:
    with GoogleTokens() as service:
        yield service


def test_a_service_account_signs_in_with_its_key(tmp_path: Path, google: GoogleTokens) -> None:
    google.write_service_account(tmp_path / "sa.json")
    token = sign_in(tmp_path, "{google: {serviceAccountFile: sa.json}}")
    assert bearer(token).startswith("ya29.sa-canary-1")
    assert token.expires_at == pytest.approx(time.time() + 3600, abs=10)
    assert google.asked[0].form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"


def test_every_sign_in_brings_a_new_token(tmp_path: Path, google: GoogleTokens) -> None:
    google.write_service_account(tmp_path / "sa.json")
    source = source_of(provider_of(tmp_path, "{google: {serviceAccountFile: sa.json}}"))
    assert isinstance(source, Source)
    assert bearer(source.fetch()) != bearer(source.fetch())


def test_workload_identity_federation_exchanges_the_platforms_token(tmp_path: Path, google: GoogleTokens) -> None:
    google.write_workload_identity(tmp_path / "wif.json")
    credential = "{google: {workloadIdentityFile: wif.json, scopes: ['https://www.googleapis.com/auth/cloud-platform']}}"
    assert bearer(sign_in(tmp_path, credential)).startswith("ya29.d-canary")
    assert google.asked[0].form["subject_token"] == google.subject_token
    (tmp_path / "wif.token").write_text("stolen")
    with pytest.raises(SignInError, match="rejected by the attribute condition"):
        sign_in(tmp_path, credential)


def test_application_default_credentials_come_from_the_metadata_server(
    tmp_path: Path, google: GoogleTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.compute_engine import _metadata

    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", google.host)  # read from GCE_METADATA_HOST when the module is imported
    monkeypatch.setenv("GCE_METADATA_IP", google.host)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    assert bearer(sign_in(tmp_path, "{google: {}}")).startswith("ya29.m-canary")


def test_a_service_accounts_file_of_another_type_is_refused(tmp_path: Path, google: GoogleTokens) -> None:
    google.write_workload_identity(tmp_path / "sa.json")
    with pytest.raises(SignInError, match='not a file of type "service_account"'):
        sign_in(tmp_path, "{google: {serviceAccountFile: sa.json}}")
    assert not google.asked


def test_googles_refusal_is_told_in_one_line(tmp_path: Path, google: GoogleTokens) -> None:
    google.write_service_account(tmp_path / "sa.json")
    info = json.loads((tmp_path / "sa.json").read_text())
    with GoogleTokens() as other:
        info["private_key"] = json.loads(other.write_service_account(tmp_path / "other.json").read_text())["private_key"]
    (tmp_path / "sa.json").write_text(json.dumps(info))
    with pytest.raises(SignInError, match=r"Invalid JWT Signature") as caught:
        sign_in(tmp_path, "{google: {serviceAccountFile: sa.json}}")
    assert "\n" not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


# ---------------------------------------------------------------------- Entra
@pytest.fixture
def entra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EntraTokens]:
    authority, tls = make_authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with EntraTokens(tls) as service:
        yield service


def entra_credential(service: EntraTokens, how: str) -> str:
    return f"{{entra: {{tenantId: {TENANT}, clientId: {CLIENT}, authorityHost: '{service.url}', {how}}}}}"


def test_an_application_signs_in_with_its_secret(tmp_path: Path, entra: EntraTokens) -> None:
    credential = entra_credential(entra, "clientSecret: {env: ENTRA}")
    token = sign_in(tmp_path, credential, {"ENTRA": SECRET})
    assert bearer(token).startswith("entra-canary-1")
    assert token.expires_at == pytest.approx(time.time() + 3600, abs=10)
    assert entra.asked[-1].form["scope"] == "https://cognitiveservices.azure.com/.default"
    assert bearer(sign_in(tmp_path, credential, {"ENTRA": SECRET})).startswith("entra-canary-2")


def test_a_wrong_secret_is_not_quoted_even_if_the_service_does(tmp_path: Path, entra: EntraTokens) -> None:
    with pytest.raises(SignInError, match="AADSTS7000215") as caught:
        sign_in(tmp_path, entra_credential(entra, "clientSecret: {env: ENTRA}"), {"ENTRA": "wrong~canary"})
    assert "wrong~canary" not in str(caught.value)


def test_a_pod_signs_in_with_its_federated_token_which_is_read_each_time(tmp_path: Path, entra: EntraTokens) -> None:
    (tmp_path / "pod.token").write_text(entra.federated)
    credential = entra_credential(entra, "federatedTokenFile: pod.token, scope: 'https://ai.azure.com/.default'")
    assert bearer(sign_in(tmp_path, credential)).startswith("entra-canary")
    assert entra.asked[-1].form["scope"] == "https://ai.azure.com/.default"
    entra.federated = "federated-canary-two"
    (tmp_path / "pod.token").write_text(entra.federated)
    assert bearer(sign_in(tmp_path, credential)).startswith("entra-canary")


def test_an_untrusted_authority_gets_no_secret(tmp_path: Path, entra: EntraTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(SignInError, match=r"(?i)certificate"):
        sign_in(tmp_path, entra_credential(entra, "clientSecret: {env: ENTRA}"), {"ENTRA": SECRET})
    assert not entra.asked


@pytest.mark.parametrize("identity", ["{}", f"{{clientId: {CLIENT}}}"])
def test_a_managed_identity_comes_from_the_machines_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: str) -> None:
    with AzureMetadata(lifetime_s=86400) as metadata:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", metadata.url)
        token = sign_in(tmp_path, f"{{entra: {{managedIdentity: {identity}}}}}")
        assert bearer(token).startswith("imds-canary")
        assert metadata.asked[-1].query["resource"] == "https://cognitiveservices.azure.com"


# ---------------------------------------------------------------------- AWS
@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsTokens]:
    with AwsTokens() as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
        yield service


KEYS = "accessKey: {accessKeyId: {env: ID}, secretAccessKey: {env: KEY}}"
ENVIRON = {"ID": ACCESS_KEY, "KEY": SECRET_KEY}


def test_keys_by_reference_are_used_as_they_are(tmp_path: Path) -> None:
    token = sign_in(tmp_path, f"{{aws: {{region: eu-central-1, {KEYS}}}}}", ENVIRON)
    assert token == Token(SigningKeys(ACCESS_KEY, Secret(SECRET_KEY)), None)
    assert ACCESS_KEY not in repr(token)
    assert SECRET_KEY not in repr(token)


def test_a_role_is_taken_with_them(tmp_path: Path, aws: AwsTokens) -> None:
    aws.external_id = "shared-id"
    role = f"assumeRole: {{roleArn: '{ROLE}', externalId: shared-id}}"
    token = sign_in(tmp_path, f"{{aws: {{region: eu-central-1, {KEYS}, {role}}}}}", ENVIRON)
    assert keys(token).access_key_id.startswith("ASIACANARY")
    assert keys(token).session_token is not None
    assert token.expires_at == pytest.approx(time.time() + 3600, abs=10)
    with pytest.raises(SignInError, match="SignatureDoesNotMatch"):
        sign_in(tmp_path, f"{{aws: {{region: eu-central-1, {KEYS}, {role}}}}}", ENVIRON | {"KEY": "another"})


def test_a_pod_takes_its_role_with_a_web_identity(tmp_path: Path, aws: AwsTokens) -> None:
    (tmp_path / "web.token").write_text(aws.web_token + "\n")
    credential = f"{{aws: {{region: eu-central-1, webIdentity: {{roleArn: '{ROLE}', tokenFile: web.token}}}}}}"
    token = sign_in(tmp_path, credential)
    assert keys(token).access_key_id.startswith("ASIACANARY")
    assert "authorization" not in aws.asked[-1].headers
    (tmp_path / "web.token").write_text("web-canary-stolen")
    with pytest.raises(SignInError, match="InvalidIdentityToken") as caught:
        sign_in(tmp_path, credential)
    assert "web-canary-stolen" not in str(caught.value)


def test_an_instance_has_a_role_by_imdsv2(tmp_path: Path, aws: AwsTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url)
    token = sign_in(tmp_path, "{aws: {region: eu-central-1, metadata: instance}}")
    assert keys(token).access_key_id.startswith("ASIACANARY")
    assert token.expires_at == pytest.approx(time.time() + 3600, abs=10)
    assert aws.asked[0].method == "PUT"


def test_a_container_has_a_role(tmp_path: Path, aws: AwsTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{aws.url}/container")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", aws.container_token)
    token = sign_in(tmp_path, "{aws: {region: eu-central-1, metadata: container}}")
    assert keys(token).session_token is not None
    assert token.expires_at == pytest.approx(time.time() + 3600, abs=10)


def test_a_profile_of_the_shared_files(tmp_path: Path, aws: AwsTokens) -> None:
    (tmp_path / "shared").write_text(f"[base]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n")
    (tmp_path / "config").write_text(f"[profile taker]\nrole_arn={ROLE}\nsource_profile=base\nregion=eu-central-1\n")
    files = "credentialsFile: shared, configFile: config"
    plain = sign_in(tmp_path, f"{{aws: {{region: eu-central-1, profile: {{name: base, {files}}}}}}}")
    assert plain == Token(SigningKeys(ACCESS_KEY, Secret(SECRET_KEY)), None)
    taken = sign_in(tmp_path, f"{{aws: {{region: eu-central-1, profile: {{name: taker, {files}}}}}}}")
    assert keys(taken).access_key_id.startswith("ASIACANARY")
    assert taken.expires_at == pytest.approx(time.time() + 3600, abs=10)
    with pytest.raises(SignInError, match=r"nobody"):
        sign_in(tmp_path, f"{{aws: {{region: eu-central-1, profile: {{name: nobody, {files}}}}}}}")


def test_the_default_chain_says_when_it_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SignInError, match="default chain finds no credentials"):
        sign_in(tmp_path, "{aws: {region: eu-central-1}}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    assert keys(sign_in(tmp_path, "{aws: {region: eu-central-1}}")).access_key_id == ACCESS_KEY


# ---------------------------------------------------------------------- all of them
def test_a_service_that_answers_with_no_token_is_a_failure(tmp_path: Path, google: GoogleTokens) -> None:
    google.write_service_account(tmp_path / "sa.json")
    for body in (b'{"access_token": "two\\nlines", "expires_in": 1}', b"<html>", b'{"access_token": "", "expires_in": 60}'):
        google.broken = Answer(200, body)
        with pytest.raises(SignInError):
            sign_in(tmp_path, "{google: {serviceAccountFile: sa.json}}")


@pytest.mark.parametrize(
    ("kind", "extra"), [("google: {}", "google"), ("entra: {managedIdentity: {}}", "azure"), ("aws: {region: us-east-1}", "aws")]
)
def test_a_missing_library_is_a_finding_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, extra: str) -> None:
    monkeypatch.setattr(sources, "_installed", lambda module: False)
    specs = specs_of(tmp_path, f"{{{kind}}}")
    (finding,) = check_references(specs, {})
    assert (finding.code, finding.severity) == ("HG3016", "warning")
    assert finding.fix == f"pip install 'headgate[{extra}]'"
    found = source_of(specs.providers[0])
    assert isinstance(found, Missing)
    assert found.fix == finding.fix


def test_what_is_referred_to_and_missing_is_named_where_it_stands(tmp_path: Path) -> None:
    specs = specs_of(tmp_path, f"{{aws: {{region: eu-central-1, {KEYS}}}}}")
    findings = check_references(specs, {"ID": "x"})
    assert [(f.code, f.path) for f in findings] == [("HG3001", "spec.credentials.0.aws.accessKey.secretAccessKey.env")]
    specs = specs_of(tmp_path, "{google: {serviceAccountFile: gone.json}}")
    assert [(f.code, f.path) for f in check_references(specs, {})] == [("HG3001", "spec.credentials.0.google.serviceAccountFile")]


def test_another_key_file_is_another_sign_in_but_a_renewed_platform_token_is_not(tmp_path: Path) -> None:
    (tmp_path / "sa.json").write_text("{}")
    specs = specs_of(tmp_path, "{google: {serviceAccountFile: sa.json}}")
    assert referenced_files(specs) == {tmp_path / "sa.json"}
    before = fingerprint(specs)
    (tmp_path / "sa.json").write_text("{ }")
    assert fingerprint(specs) != before
    (tmp_path / "web.token").write_text("one")
    specs = specs_of(tmp_path, f"{{aws: {{region: eu-central-1, webIdentity: {{roleArn: '{ROLE}', tokenFile: web.token}}}}}}")
    before = fingerprint(specs)
    (tmp_path / "web.token").write_text("two")
    assert fingerprint(specs) == before
