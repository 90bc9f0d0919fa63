"""References to what stands outside of the specs: files, and secrets in files or environment variables."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from control_plane.spec.fields import check_path
from control_plane.spec.shape import Shape

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(check_path)]


class SecretRef(Shape):
    """Where a key is: exactly one of `env` and `file`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["env"]}, {"required": ["file"]}]})

    env: EnvName | None = Field(default=None, description="Name of an environment variable of the control plane that holds the key")
    file: FilePath | None = Field(
        default=None, description="File that holds the key and nothing else, relative to the spec file; it is watched for changes"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise PydanticCustomError("HG1014", "needs exactly one of env and file", {"fix": "write {env: NAME} or {file: path}"})
        return self
