#!/bin/sh
# What the image is made of: `install.sh CODE VENV` puts the packages of requirements-production.lock and the code in CODE into a new
# virtual environment at VENV. The Dockerfile runs this very script, and so does `make image`, which measures what comes of it.
set -eu
code=$(realpath "$1")
venv=$(realpath -m "$2")
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

# What installs is itself locked, and stays out of the image.
python3 -m venv "$tools/env"
"$tools/env/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r "$code/deployments/image/build.lock"

python3 -m venv --without-pip "$venv"
UV_CACHE_DIR="${UV_CACHE_DIR:-$tools/cache}" "$tools/env/bin/uv" pip install --quiet --link-mode copy --python "$venv/bin/python" \
  --no-deps --require-hashes -r "$code/requirements-production.lock"

# Where it lies is where it runs from: flows are loaded from that folder, with prefect.yaml and deployments/ beside them.
(cd "$code" && "$tools/env/bin/hatchling" build -t wheel:editable -d "$tools/dist" >/dev/null)
"$tools/env/bin/uv" pip install --quiet --link-mode copy --python "$venv/bin/python" --no-deps --no-index "$tools"/dist/*.whl

# Nothing of ours needs what is left out here: packages' own tests and headers, examples, the part of Arrow that is a server and what
# one links to it by other names, and a format of pictures.
site=$(echo "$venv"/lib/python3*/site-packages)
find "$site" -type d \( -name tests -o -name test \) -not -path '*/prefect/*' -prune -exec rm -rf {} +
find "$site" -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.a' \) -delete
rm -rf "$site"/pyarrow/include "$site"/pyarrow/libarrow_flight.so.* "$site"/pyarrow/_flight*.so "$site"/pyarrow/libarrow_python*.so \
  "$site"/pyarrow/libarrow_python*.so.*.*.* "$site"/matplotlib/mpl-data/sample_data "$site"/PIL/_avif*.so "$site"/pillow.libs/libavif-*
find "$site/botocore/data" -name 'examples-1.json*' -delete

# Symbols are for debuggers. What auditwheel patched, in *.libs, is left as it is: stripping may break it.
find "$site" -type f -name '*.so*' -not -path '*.libs/*' -exec strip --strip-unneeded {} +

# Only modules that are imported are compiled, by importing them: bytecode of all there is would be a quarter of the image.
(cd "$code" && PYTHONDONTWRITEBYTECODE="" PREFECT_HOME="$tools/home" "$venv/bin/python" "$code/deployments/image/warm.py")
"$venv/bin/python" "$code/deployments/image/sbom.py" "$code/requirements-production.lock" "$venv" > "$venv/sbom.cdx.json"
