"""Telling secrets from settings: what CreateTrainingJob is told can be read by everybody who may describe the job. Pure.

A name alone gives a secret away (`hub_token`), or its value's shape does whatever it is called (`hf_…`, a JWT, a signed URL).
References to where a secret is kept, ARNs, are what is wanted instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from trainmaster.training.problems import Problem

REMEDY = (
    "Everybody who may describe the job could read it. Keep it in Secrets Manager or as an SSM SecureString, and give its ARN"
    " (for example hub_token_secret_arn) for the program to fetch it by."
)
_REFERENCE = re.compile(r"arn:aws[a-z-]*:(secretsmanager|ssm|kms|iam|sts|s3|s3express|sagemaker):[^\s@]*")
_SHAPES = tuple(
    re.compile(shape)
    for shape in (
        r"\bhf_[A-Za-z0-9]{16,}",
        r"\b(AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
        r"\bsk-[A-Za-z0-9_-]{16,}",
        r"\b(sk|rk|pk)_(live|test)_[A-Za-z0-9]{10,}",
        r"\bsb_secret_[A-Za-z0-9_-]{8,}",
        r"\bgh[oprsu]_[A-Za-z0-9]{20,}",
        r"\bgithub_pat_[A-Za-z0-9_]{20,}",
        r"\bglpat-[A-Za-z0-9_-]{16,}",
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"\bnpm_[A-Za-z0-9]{30,}",
        r"\bpypi-[A-Za-z0-9_-]{40,}",
        r"\bAIza[A-Za-z0-9_-]{30,}",
        r"\bdop_v1_[a-f0-9]{40,}",
        r"\beyJ[A-Za-z0-9_-]{6,1000}\.eyJ[A-Za-z0-9_-]{6,4000}\.",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
        r"(?i)\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@]{0,200}:[^\s@]{1,500}@",
        r"(?i)\bauthorization\s*[:=]\s*\S{8,}|\bbearer\s+[a-z0-9._~+/-]{16,}|\bbasic\s+[a-z0-9+/]{16,}=*",
        r"(?i)[?&;](x-(amz|goog)-(signature|credential|security-token)|signature|sig|token|access_token|api_?key)=[^&\s]",
        r"(?i)\bhooks\.slack\.com/(services|workflows)/\w",
        r"(?i)\b(password|passwd|pwd|accountkey|sharedaccesskey)\s*=\s*[^\s;]",
    )
)
"""What fails to match is bounded: a log has lines of 256 KB, and each word of one may begin what looks like an address."""
_WHOLE = (
    re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    *(re.compile(rf"(?:{shape.pattern.removeprefix('(?i)')})\S*", shape.flags) for shape in _SHAPES),
)
"""Each shape to the end of what it begins."""
_LOOKED_AT = 20_000
"""Characters of a value; longer ones are refused for their length anyway."""
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ALWAYS = frozenset(
    {"password", "passwords", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials", "apikey",
     "apikeys", "apitoken", "authtoken", "accesstoken", "secretkey", "privatekey", "accesskey", "bearer", "jwt"}
)  # fmt: skip
_KEYS_OF = frozenset(
    {"api", "access", "secret", "private", "auth", "encryption", "signing", "ssh", "service", "role", "master", "account",
     "license", "wandb", "openai", "anthropic", "comet", "neptune", "hf"}
)  # fmt: skip
"""Before `key`; `primary_key`, `text_key` and the like are none."""
_NO_TOKEN_OF = frozenset(
    {"pad", "eos", "bos", "unk", "mask", "sep", "cls", "end", "start", "stop", "special", "image", "audio", "video", "vision",
     "think", "first", "last", "next", "per", "max", "min", "num", "n", "new", "user", "assistant", "system", "prompt",
     "response", "instruction", "decoder", "encoder", "forced", "suppress", "prefix", "suffix", "eot", "eom", "separator",
     "boundary", "extra", "virtual", "role", "tool", "placeholder", "begin", "word", "sub", "trigger", "class", "reward"}
)  # fmt: skip
"""Before `token`, in the language of language models."""
_ABOUT = frozenset(
    {"file", "path", "dir", "folder", "name", "names", "type", "types", "length", "len", "limit", "count", "size", "column",
     "field", "env", "variable", "var", "position", "index", "ids", "idx", "weight", "loss", "level", "policy", "ratio",
     "budget", "rate", "manager", "ttl", "header", "required", "enabled", "accuracy", "embedding", "embeddings", "dim",
     "dropout", "classification", "expiry", "seconds", "provider", "strategy", "prefix", "regex"}
)  # fmt: skip
"""A last word that says the value is about a secret, or about tokens of text, and not one itself."""


def secrets_in(values: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """A problem for each value that looks like a secret, however deep it lies; no problem ever says the value.

    `where` is what the values are called, in the singular: Hyperparameter, Environment variable.
    """
    for path, key, value in _leaves("", values):
        if is_secret(key, value):
            yield Problem("secret", f"{where} {path} looks like a secret.", REMEDY)


def is_secret(key: str, value: Any) -> bool:
    """Whether a value under a name is, by the one or the other, something that must stay secret."""
    if value is None or isinstance(value, bool) or value == "":
        return False
    text = str(value).strip()[:_LOOKED_AT]
    if _REFERENCE.fullmatch(text):
        return False
    if _has_shape(text) or _has_shape(key):
        return True
    return bool(text) and _is_secret_name(key, number=not isinstance(value, str), text=text)


def _has_shape(text: str) -> bool:
    return any(shape.search(text) for shape in _SHAPES)


def _is_secret_name(key: str, *, number: bool, text: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(key)]
    if not words or words[-1] in _ABOUT:
        return False
    before = words[-2] if len(words) > 1 else ""
    if words[-1] in ("token", "tokens") and not _ALWAYS & set(words):
        singular = words[-1] == "token"
        return singular and not number and before not in _NO_TOKEN_OF and not _is_vocabulary(text)
    if words[-1] in ("key", "keys") and before in _KEYS_OF:
        return True
    if words[-1] == "id" and "secret" not in words and "password" not in words:
        return False
    return any(word in _ALWAYS or word.endswith(("password", "passwd")) for word in words)


def _is_vocabulary(text: str) -> bool:
    """Whether it is a token of text, as <|endoftext|> or [PAD]."""
    return (text[0], text[-1]) in {("<", ">"), ("[", "]"), ("{", "}")} or len(text) <= 2


def _leaves(path: str, value: Any, key: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, name and value of everything that is neither a mapping nor a list; what is in a list goes by the list's name."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            shown = "(a name that is itself a secret)" if _has_shape(str(name)) else _quoted(str(name))
            yield from _leaves(f"{path}.{shown}" if path else shown, item, str(name))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(f"{path}[{number}]", item, key)
    else:
        yield path, key, value


def _quoted(name: str) -> str:
    return name[:80] if name.isprintable() else repr(name[:80])


def hidden(text: str) -> str:
    """Text with what has the shape of a secret left out of it; for logs, which programs write whatever they like into."""
    for shape in _WHOLE:
        text = shape.sub("(hidden: looks like a secret)", text)
    return text
