"""Libraries that are preloaded into the sidecar: the sources are beside this file."""

import pathlib
import subprocess


def preloaded(name, folder, **variables):
    """What start() is to start the sidecar `through`: NAME.c is loaded first, with these variables."""
    library = folder / f"{name}.so"
    source = pathlib.Path(__file__).with_name(f"{name}.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return ("env", f"LD_PRELOAD={library}", "ASAN_OPTIONS=verify_asan_link_order=0",
            *(f"{key}={value}" for key, value in variables.items()))
