"""Imports run downhill: flows → tasks → trainmaster; model stands alone. The map in the README rests on this."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOORS = {f"trainmaster/{door}.py" for door in ("api", "cli", "flow_runs", "laptop", "setting_up")}
"""What stands above the flows and starts them."""

OPEN = {
    "trainmaster": ("model.finetune.formats", "model.finetune.hyperparameters"),
    "model": ("boto3",),
}
"""What a room may import though it is barred: a fine-tuning's hyperparameters (pure pydantic) and formats are checked before the launch
by what the job checks them by, so that nothing is paid for to be refused; and the job fetches the Hub's token by itself from where the
secret is kept, for no parameter of a job is secret."""
FETCHES_SECRETS = ROOT / "model/finetune/hub_token.py"

LINES = [
    ("trainmaster", {"prefect", "prefect_aws", "flows", "tasks", "model"}),
    ("tasks", {"flows", "model", "trainmaster.embedded", "trainmaster.laptop", "trainmaster.cli"}),
    ("flows", {"boto3", "botocore", "model", "trainmaster.embedded", "trainmaster.laptop", "trainmaster.cli"}),
    ("model", {"trainmaster", "tasks", "flows", "prefect", "boto3"}),
    ("trainmaster/datasets", {"boto3", "botocore", "trainmaster.settings", "trainmaster.aws"}),
    ("trainmaster/budget", {"boto3", "botocore", "trainmaster.settings", "trainmaster.aws"}),
    *(
        (f"trainmaster/training/{part}.py", {"boto3", "botocore", "trainmaster.settings", "trainmaster.aws"})
        for part in (
            "request",
            "plan",
            "trainers",
            "problems",
            "configs",
            "fine_tuning",
            "hyperparameters",
            "limits",
            "room",
            "secrets",
            "shapes",
            "memory",
            "speed",
            "estimate",
            "sizing",
        )
    ),
    ("trainmaster/catalog", {"boto3", "botocore", "trainmaster.settings", "trainmaster.aws", "trainmaster.migration"}),
    *(
        (f"trainmaster/reporting/{part}.py", {"boto3", "botocore", "trainmaster.settings", "trainmaster.aws"})
        for part in ("forecast", "page", "weeks")
    ),
    ("trainmaster/local_settings.py", {"boto3", "pydantic_settings", "trainmaster.settings", "trainmaster.aws"}),
    ("trainmaster/form.py", {"boto3", "botocore", "trainmaster.settings", "trainmaster.aws", "trainmaster.catalog"}),
    ("trainmaster/http_api", {"trainmaster.embedded", "trainmaster.commands", "trainmaster.cli", "trainmaster.laptop"}),
    ("trainmaster/endpoints/plan.py", {"boto3", "trainmaster.settings"}),
    ("trainmaster/setup", {"boto3", "botocore", "httpx", "trainmaster.settings", "trainmaster.aws", "deployments"}),
    *((f"trainmaster/endpoints/api/{part}.py", {"boto3", "trainmaster.settings"}) for part in ("plan", "request")),
    *(
        (f"trainmaster/endpoints/models/{part}", {"boto3", "botocore", "trainmaster.settings", "trainmaster.aws"})
        for part in ("code.py", "kinds")
    ),
    ("trainmaster/endpoints/request.py", {"boto3", "botocore", "trainmaster.settings", "trainmaster.aws"}),
    ("trainmaster/endpoints/watch/idle.py", {"boto3", "botocore", "trainmaster.settings", "trainmaster.aws"}),
    *(
        (
            f"trainmaster/migration/{part}.py",
            {"boto3", "botocore", "obstore", "trainmaster.settings", "trainmaster.aws"},
        )
        for part in ("request", "plan", "window", "deadline", "result", "showing")
    ),
    *(
        (f"trainmaster/workspaces/{part}.py", {"boto3", "botocore", "trainmaster.settings", "trainmaster.aws"})
        for part in (
            "images/dockerfile",
            "images/fingerprint",
            "images/machine_image",
            "images/names",
            "images/plan",
            "lined_yaml",
            "machines/access",
            "machines/parts",
            "machines/plan",
            "machines/user_data",
            "machines/wanted",
            "policy/file",
            "policy/nearest",
            "policy/rules",
            "rates",
            "request",
            "spec",
            "studio/plan",
            "tags",
            "templates/loading",
            "templates/pins",
            "templates/template",
            "watch/idle",
            "watch/jupyter",
            "workspace",
        )
    ),
    *(
        (f"trainmaster/{room}", {"trainmaster.embedded"})
        for room in (
            "aws",
            "budget",
            "catalog",
            "datasets",
            "endpoints",
            "http_api",
            "migration",
            "reporting",
            "storage",
            "training",
            "workspaces",
        )
    ),
]


@cache
def imports(path: Path) -> set[str]:
    """Every module the file imports, wherever in the file, with all its parents."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if _is_open(path, name):
                continue
            parts = name.split(".")
            found |= {".".join(parts[: n + 1]) for n in range(len(parts))}
    return found


def _is_open(path: Path, name: str) -> bool:
    if ROOT / "model" in path.parents:
        return path == FETCHES_SECRETS and name in OPEN["model"]
    return ROOT / "trainmaster" in path.parents and any(
        name == opened or name.startswith(f"{opened}.") for opened in OPEN["trainmaster"]
    )


@pytest.mark.parametrize(("room", "barred"), LINES, ids=[room for room, _ in LINES])
def test_no_import_runs_uphill(room: str, barred: set[str]) -> None:
    start = ROOT / room
    files = [start] if start.is_file() else sorted(start.rglob("*.py"))
    assert files
    uphill = {
        str(path.relative_to(ROOT)): sorted(imports(path) & barred)
        for path in files
        if str(path.relative_to(ROOT)) not in DOORS
    }
    assert {path: names for path, names in uphill.items() if names} == {}
