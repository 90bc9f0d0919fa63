"""What a provider's credential is: a key by reference, or a sign-in to a cloud whose short-lived tokens Headgate keeps fresh."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from control_plane.spec.fields import check_authority, check_path, distinct
from control_plane.spec.shape import Shape

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(check_path)]
Scope = Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=512)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=256)]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$", max_length=32)]
Service = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
RoleArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$", max_length=2048)]
SessionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+=,.@_-]{2,64}$")]
Profile = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+=,.@_/:-]+$", max_length=256)]
ExternalId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+=,.@:/_-]{2,1224}$")]

GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
ENTRA_SCOPE: Final = "https://cognitiveservices.azure.com/.default"
ENTRA_AUTHORITY: Final = "https://login.microsoftonline.com"
MAX_SCOPES: Final = 16  # one token carries them all; nobody needs more than a few

Step = tuple[str | int, ...]


def _one_of(given: Sequence[tuple[str, object]], *, at_most: bool = False) -> None:
    """Raises HG1014 unless exactly one (with `at_most`, none or one) of the named values is there."""
    there = [name for name, value in given if value is not None]
    if len(there) == 1 or (at_most and not there):
        return
    names = [name for name, _ in given]
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    message = f"needs {'at most' if at_most else 'exactly'} one of {listed}"
    fix = f"remove {there[1]}" if len(there) > 1 else f"add {', '.join(names[:-1])} or {names[-1]}"
    if names == ["env", "file"]:
        fix = "write {env: NAME} or {file: path}"
    raise PydanticCustomError("HG1014", "{message}", {"message": message, "fix": fix})


def _schema_one_of(*names: str) -> ConfigDict:
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in names]})


class SecretRef(Shape):
    """Where a key is: exactly one of `env` and `file`."""

    model_config = _schema_one_of("env", "file")

    env: EnvName | None = Field(default=None, description="Name of an environment variable of the control plane that holds the key")
    file: FilePath | None = Field(
        default=None, description="File that holds the key and nothing else, relative to the spec file; it is watched for changes"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        _one_of([("env", self.env), ("file", self.file)])
        return self


class GoogleSignIn(Shape):
    """Sign-in to Google Cloud. With neither file: application default credentials (environment, gcloud login, metadata server)."""

    service_account_file: FilePath | None = Field(
        default=None, description="JSON key file of a service account, relative to the spec file; it is watched for changes"
    )
    workload_identity_file: FilePath | None = Field(
        default=None, description="JSON configuration of workload identity federation (type external_account), relative to the spec file"
    )
    scopes: Annotated[tuple[Scope, ...], AfterValidator(distinct)] = Field(
        default=(GOOGLE_SCOPE,), min_length=1, max_length=MAX_SCOPES, description="OAuth scopes of the token"
    )

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        files = [("serviceAccountFile", self.service_account_file), ("workloadIdentityFile", self.workload_identity_file)]
        _one_of(files, at_most=True)
        return self


class ManagedIdentity(Shape):
    """The identity that Azure gives the machine, container or pod of the control plane."""

    client_id: Identifier | None = Field(
        default=None, description="Client id of a user-assigned identity; default: the system-assigned one"
    )


class EntraSignIn(Shape):
    """Sign-in with Microsoft Entra ID: exactly one of `clientSecret`, `federatedTokenFile` and `managedIdentity`."""

    model_config = _schema_one_of("clientSecret", "federatedTokenFile", "managedIdentity")

    tenant_id: Identifier | None = Field(default=None, description="Tenant of the application: its id, or a domain of it")
    client_id: Identifier | None = Field(default=None, description="Application (client) id")
    client_secret: SecretRef | None = Field(default=None, description="Reference to a client secret of the application")
    federated_token_file: FilePath | None = Field(
        default=None,
        description="File with a token that the application trusts (workload identity), relative to the spec file; read at every sign-in",
    )
    managed_identity: ManagedIdentity | None = Field(
        default=None, description="Use the identity of the control plane's own machine; {} for the system-assigned one"
    )
    scope: Scope = Field(default=ENTRA_SCOPE, description="What the token is for")
    authority_host: Annotated[str, StringConstraints(max_length=256), AfterValidator(check_authority)] = Field(
        default=ENTRA_AUTHORITY,
        description="Where tokens come from; another one for sovereign clouds, for example https://login.microsoftonline.us",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        ways = [
            ("clientSecret", self.client_secret),
            ("federatedTokenFile", self.federated_token_file),
            ("managedIdentity", self.managed_identity),
        ]
        _one_of(ways)
        way = next(name for name, value in ways if value is not None)
        for name, value in (("tenantId", self.tenant_id), ("clientId", self.client_id)):
            if way == "managedIdentity" and value is not None:
                fix = "remove it" if name == "tenantId" else "write managedIdentity: {clientId: ...}"
                raise PydanticCustomError("HG1020", "{name} has no effect with managedIdentity", {"name": name, "fix": fix})
            if way != "managedIdentity" and value is None:
                raise PydanticCustomError("HG1020", "{way} needs {name} too", {"way": way, "name": name, "fix": f"add {name}"})
        return self


class AwsAccessKey(Shape):
    """A long-lived (or handed-in temporary) access key, by reference."""

    access_key_id: SecretRef = Field(description="Reference to the access key id")
    secret_access_key: SecretRef = Field(description="Reference to the secret access key")
    session_token: SecretRef | None = Field(default=None, description="Reference to the session token of temporary keys")


class AwsProfile(Shape):
    """A profile of AWS's shared files, which may itself assume a role, use SSO or run a process."""

    name: Profile = Field(default="default", description="Name of the profile")
    credentials_file: FilePath | None = Field(
        default=None, description="Shared credentials file, relative to the spec file; default: where AWS's tools look"
    )
    config_file: FilePath | None = Field(
        default=None, description="Shared configuration file, relative to the spec file; default: where AWS's tools look"
    )


class AwsWebIdentity(Shape):
    """A role for whoever holds a token of a trusted issuer, such as a pod's service account (IRSA)."""

    role_arn: RoleArn = Field(description="Role to take")
    token_file: FilePath = Field(description="File with the issuer's token, relative to the spec file; it is read at every sign-in")
    session_name: SessionName = Field(default="headgate", description="Name of the session in AWS's own logs")


class AwsAssumeRole(Shape):
    """A role that the credential above it may take."""

    role_arn: RoleArn = Field(description="Role to take")
    external_id: ExternalId | None = Field(default=None, description="External id that the role's trust policy asks for")
    session_name: SessionName = Field(default="headgate", description="Name of the session in AWS's own logs")


class AwsSignIn(Shape):
    """Requests are signed with AWS's signature version 4. At most one source; without one, the default chain of AWS's tools."""

    region: Region = Field(description="Region that stands in the signature, for example us-east-1")
    service: Service = Field(default="bedrock", description="Service name that stands in the signature")
    access_key: AwsAccessKey | None = Field(default=None, description="An access key by reference")
    profile: AwsProfile | None = Field(default=None, description="A profile of AWS's shared files")
    web_identity: AwsWebIdentity | None = Field(default=None, description="A role for the holder of a token (IRSA and the like)")
    metadata: Literal["container", "instance"] | None = Field(
        default=None, description="The role of the control plane's own container (ECS, EKS pod identity) or instance (EC2, IMDSv2)"
    )
    assume_role: AwsAssumeRole | None = Field(default=None, description="A role to take with the credential found")

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        sources = [
            ("accessKey", self.access_key),
            ("profile", self.profile),
            ("webIdentity", self.web_identity),
            ("metadata", self.metadata),
        ]
        _one_of(sources, at_most=True)
        return self


SignIn = GoogleSignIn | EntraSignIn | AwsSignIn


class Credential(Shape):
    """One credential of a provider: exactly one of `secretRef`, `google`, `entra` and `aws`."""

    model_config = _schema_one_of("secretRef", "google", "entra", "aws")

    secret_ref: SecretRef | None = Field(default=None, description="Reference to a key; the key itself never stands in a spec")
    google: GoogleSignIn | None = Field(default=None, description="Sign-in to Google Cloud; needs headgate[google]")
    entra: EntraSignIn | None = Field(default=None, description="Sign-in with Microsoft Entra ID; needs headgate[azure]")
    aws: AwsSignIn | None = Field(default=None, description="Requests signed with AWS's signature version 4; needs headgate[aws]")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        _one_of([("secretRef", self.secret_ref), ("google", self.google), ("entra", self.entra), ("aws", self.aws)])
        return self

    @property
    def sign_in(self) -> SignIn | None:
        """The cloud sign-in, or None for a key."""
        return self.google or self.entra or self.aws

    def secret_refs(self) -> Iterator[tuple[Step, SecretRef]]:
        """Every reference to a secret, with its path below the credential."""
        if self.secret_ref is not None:
            yield ("secretRef",), self.secret_ref
        if self.entra is not None and self.entra.client_secret is not None:
            yield ("entra", "clientSecret"), self.entra.client_secret
        if self.aws is not None and (key := self.aws.access_key) is not None:
            yield ("aws", "accessKey", "accessKeyId"), key.access_key_id
            yield ("aws", "accessKey", "secretAccessKey"), key.secret_access_key
            if key.session_token is not None:
                yield ("aws", "accessKey", "sessionToken"), key.session_token

    def files(self) -> Iterator[tuple[Step, str]]:
        """Every other file it names, as written, with its path below the credential."""
        if self.google is not None:
            for name, file in (
                ("serviceAccountFile", self.google.service_account_file),
                ("workloadIdentityFile", self.google.workload_identity_file),
            ):
                if file is not None:
                    yield ("google", name), file
        if self.entra is not None and self.entra.federated_token_file is not None:
            yield ("entra", "federatedTokenFile"), self.entra.federated_token_file
        if self.aws is None:
            return
        if self.aws.web_identity is not None:
            yield ("aws", "webIdentity", "tokenFile"), self.aws.web_identity.token_file
        if self.aws.profile is not None:
            for name, file in (("credentialsFile", self.aws.profile.credentials_file), ("configFile", self.aws.profile.config_file)):
                if file is not None:
                    yield ("aws", "profile", name), file


def absolute(plain: dict[str, Any], resolve: Callable[[str], str]) -> None:
    """Make every file path in a credential as plain data absolute; `resolve` maps a written path to the absolute one."""
    for name, value in plain.items():
        if isinstance(value, dict):
            absolute(value, resolve)
        elif isinstance(value, str) and (name == "file" or name.endswith("File")):
            plain[name] = resolve(value)
