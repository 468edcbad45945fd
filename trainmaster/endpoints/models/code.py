"""What is known before a model is deployed to keep its code from starting in the container of AWS that serves it. Pure.

What cannot be known here is not guessed at: it shows when the endpoint starts, and the deployment is undone.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

CODE = "code/"
PROGRAM, REQUIREMENTS = f"{CODE}inference.py", f"{CODE}requirements.txt"
CONTAINER_PYTHON = (3, 12)

# Import names. From the container's public requirement files and what those need in turn; generous on purpose, for what is wrongly
# thought to be there shows when the endpoint starts, and what is wrongly thought missing would refuse a good model.
_IN_SCIKIT_LEARN = frozenset((
    "PIL", "_cffi_backend", "bcrypt", "blinker", "boto3", "botocore", "certifi", "cffi", "charset_normalizer",
    "click", "cryptography", "dateutil", "filelock", "flask", "gevent", "google", "greenlet", "gunicorn", "idna",
    "importlib_metadata", "itsdangerous", "jinja2", "jmespath", "joblib", "markupsafe", "model_archiver",
    "multi_model_server", "nacl", "numpy", "packaging", "pandas", "paramiko", "pip", "pkg_resources", "psutil",
    "pyarrow", "pycparser", "pytz", "requests", "retrying", "s3transfer", "sagemaker_containers",
    "sagemaker_inference", "sagemaker_sklearn_container", "sagemaker_training", "scipy", "setuptools", "six",
    "sklearn", "threadpoolctl", "tqdm", "typing_extensions", "tzdata", "urllib3", "werkzeug", "wheel", "xgboost",
    "yaml", "zope",
))  # fmt: skip
_IN_HUGGING_FACE = frozenset((
    "PIL", "_cffi_backend", "accelerate", "aiohttp", "anyio", "boto3", "botocore", "certifi", "cffi",
    "charset_normalizer", "click", "cryptography", "dateutil", "diffusers", "filelock", "fsspec", "future", "httpx",
    "huggingface_hub", "idna", "importlib_metadata", "jinja2", "jmespath", "joblib", "markupsafe", "mms",
    "model_archiver", "mpmath", "multi_model_server", "networkx", "numpy", "optimum", "packaging", "pandas", "peft",
    "pip", "pkg_resources", "psutil", "pyarrow", "pycparser", "pydantic", "pytz", "regex", "requests", "retrying",
    "s3transfer", "safetensors", "sagemaker_huggingface_inference_toolkit", "sagemaker_inference", "scipy",
    "sentence_transformers", "sentencepiece", "setuptools", "six", "sklearn", "sympy", "tokenizers", "torch",
    "torchaudio", "torchvision", "tqdm", "transformers", "triton", "typing_extensions", "tzdata", "urllib3", "wheel",
    "yaml",
))  # fmt: skip
_NAMED_OTHERWISE = {
    "scikit_learn": "sklearn", "python_dateutil": "dateutil", "pillow": "PIL", "pyyaml": "yaml", "protobuf": "google",
    "pynacl": "nacl", "zope_event": "zope", "zope_interface": "zope",
}  # fmt: skip
_LEFT_PYTHON_AFTER_3_12 = frozenset((
    "aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "msilib", "nis", "nntplib",
    "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib",
))  # fmt: skip
_STANDARD = sys.stdlib_module_names | _LEFT_PYTHON_AFTER_3_12


@dataclass(frozen=True)
class Container:
    """A container of AWS that serves: what it is called, and what can be imported there."""

    called: str
    modules: frozenset[str] = field(repr=False)


SCIKIT_LEARN = Container("AWS's scikit-learn container", _IN_SCIKIT_LEARN)
HUGGING_FACE = Container("AWS's Hugging Face container", _IN_HUGGING_FACE)


def problems_of(names: Collection[str], texts: Mapping[str, bytes], container: Container = SCIKIT_LEARN) -> list[str]:
    """Sentences that say what keeps the code from starting and what to do about it; empty when nothing is known to.

    `names` are all files of the artifact, `texts` the content of those that were looked into.
    """
    installed, problems = _requirements(names, texts)
    if PROGRAM not in texts:  # larger than what is looked into
        return problems
    reading = _Reading(names, texts, container)
    reading.follow("inference")
    if reading.broken:
        return [*problems, *reading.broken]
    if not reading.defines_model_fn:
        problems.append(f"{PROGRAM} defines no model_fn, by which the container loads a model. Add it.")
    # What the container does not have brings more along than its name says: then nothing is known to be missing.
    missing = [] if installed - container.modules else list(reading.imports)
    problems += [
        f"{reading.imports[name]} imports {name}, which is neither in {container.called} nor in {REQUIREMENTS}."
        " Add it there, with its version."
        for name in missing
    ]
    return problems


def _requirements(names: Collection[str], texts: Mapping[str, bytes]) -> tuple[set[str], list[str]]:
    """The import names that requirements.txt brings, as far as they follow from its packages' names, and what pip will not take."""
    installed: set[str] = set()
    problems: list[str] = []
    pinned: dict[str, str] = {}
    for line in _lines(texts.get(REQUIREMENTS, b"")):
        option = re.fullmatch(r"(-r|--requirement|-c|--constraint|-e|--editable)[ =]?\s*(\S+)", line)
        if option or line.startswith((".", "/")):
            path = option[2] if option else line
            if "://" not in path and not _is_there(path, names):
                problems.append(f"{REQUIREMENTS} names {path}, which is not in the artifact. Pack it, or leave it out.")
            installed.add(path)
            continue
        if line.startswith("-"):
            continue
        try:
            requirement = Requirement(re.split(r"\s+--hash", line)[0])
        except InvalidRequirement as error:
            said = str(error).splitlines()[0]
            problems.append(f"{REQUIREMENTS} has a line pip cannot read, {line[:80]!r}: {said}. Correct it.")
            continue
        module = canonicalize_name(requirement.name).replace("-", "_")
        installed.add(_NAMED_OTHERWISE.get(module, module))
        for clause in requirement.specifier:
            if clause.operator == "==" and not clause.version.endswith(".*") and requirement.marker is None:
                other = pinned.setdefault(module, clause.version)
                if other != clause.version:
                    problems.append(
                        f"{REQUIREMENTS} pins {requirement.name} to {other} and to {clause.version}. Leave one of them."
                    )
    return installed, problems


def _lines(content: bytes) -> Iterator[str]:
    text = content.decode(errors="replace").removeprefix("\ufeff").replace("\\\n", " ")
    for line in text.splitlines():
        if stripped := re.sub(r"(^|\s)#.*$", "", line).strip():
            yield stripped


def _is_there(path: str, names: Collection[str]) -> bool:
    if path.startswith("/"):
        return True  # perhaps in the container
    wanted = posixpath.normpath(CODE + path.partition("[")[0])
    return any(name == wanted or name.startswith(f"{wanted}/") for name in names)


class _Reading:
    """What the code imports for certain as it starts: at the top of inference.py, and of the artifact's modules it imports there.

    Imports inside functions, conditions and `try` may never happen, or may fail and be caught.
    """

    def __init__(self, names: Collection[str], texts: Mapping[str, bytes], container: Container) -> None:
        self._names, self._texts, self._seen, self._there = names, texts, set[str](), container.modules
        self.imports: dict[str, str] = {}
        """Top-level modules that are not in the artifact, the container or Python, each with the file that imports it first."""
        self.broken: list[str] = []
        self.defines_model_fn = False

    def follow(self, module: str) -> None:
        """Read a module of the artifact, and those it imports."""
        file = next((file for file in self._files(module) if file in self._names), None)
        if file is None or file in self._seen or file not in self._texts:
            return
        self._seen.add(file)
        try:
            tree = ast.parse(self._texts[file])
        except (SyntaxError, ValueError) as error:
            if sys.version_info >= CONTAINER_PYTHON:  # what an older Python cannot read the container's may
                self.broken.append(f"{file} is not Python: {error}. Correct it.")
            self.defines_model_fn = True
            return
        if file == PROGRAM:
            self.defines_model_fn = _may_define(tree, "model_fn")
        package = module if file.endswith("__init__.py") else module.rpartition(".")[0]
        for name in _imported(tree, package):
            self._import(name, file)

    def _import(self, name: str, file: str) -> None:
        top = name.partition(".")[0]
        if self._is_ours(top):
            parts = name.split(".")
            for end in range(1, len(parts) + 1):
                self.follow(".".join(parts[:end]))
        elif top not in _STANDARD and top not in self._there:
            self.imports.setdefault(top, file)

    def _is_ours(self, top: str) -> bool:
        return any(name.startswith((f"{CODE}{top}.", f"{CODE}{top}/")) for name in self._names)

    @staticmethod
    def _files(module: str) -> tuple[str, str]:
        path = module.replace(".", "/")
        return f"{CODE}{path}/__init__.py", f"{CODE}{path}.py"


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Dotted names; of `from a import b` both a and a.b, which may be a module."""
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            base = statement.module or ""
            if statement.level:
                kept = package.split(".")[: len(package.split(".")) - statement.level + 1]
                base = ".".join([*kept, *([base] if base else [])])
            if base:
                yield from (f"{base}.{alias.name}" for alias in statement.names)


def _may_define(tree: ast.Module, wanted: str) -> bool:
    """Whether the name may be there once the module has run: nothing is excluded by conditions, loops or star imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == wanted:
            return True
        if isinstance(node, ast.Name) and node.id == wanted and isinstance(node.ctx, ast.Store):
            return True
        if isinstance(node, ast.alias) and (node.name == "*" or (node.asname or node.name) == wanted):
            return True
    return False
