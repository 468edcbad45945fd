"""docs/reference/flows.md: every deployment with its form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from docs.generate.markdown import code, page, prose
from docs.generate.schemas import fields
from trainmaster.schema_words import parts

ROOT = Path(__file__).parents[2]
_ABOUT = (
    "Every deployment, in the order of `prefect.yaml`, with the fields of its form. A run takes one parameter, `request`, an object of these"
    " fields: the same from the Prefect UI, from `prefect deployment run NAME/NAME -p 'request={…}'`, and from other flows. Whatever is"
    " not in the form's bounds is refused before anything is launched."
)


def reference() -> str:
    """The page."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    listed = "\n".join(f"- [{one['name']}](#{one['name']})" for one in deployments)
    return page("Flows", _ABOUT, listed, *(_section(one) for one in deployments))


def _section(deployment: dict[str, Any]) -> str:
    path, _, function = deployment["entrypoint"].partition(":")
    flow = load_flow_from_entrypoint(f"{ROOT / path}:{function}")
    schema = parameter_schema(flow).model_dump()
    definitions: dict[str, Any] = schema["definitions"]
    form = definitions[parts(schema["properties"], definitions)[0]]
    described = [
        f"**{definitions[name].get('title', name)}**"
        + _told(definitions[name])
        + "\n\n"
        + fields(definitions[name], definitions)
        for name in parts(form["properties"], definitions)
    ]
    return "\n\n".join(
        [
            f"## {deployment['name']}",
            prose(deployment["description"]),
            f"{_when(deployment)} {_how_many(deployment['concurrency_limit'])} [{path}](../../{path})",
            fields(form, definitions) or "Its form has no fields.",
            *described,
        ]
    )


def _told(definition: dict[str, Any]) -> str:
    return f": {prose(definition['description'])}" if definition.get("description") else ""


def _when(deployment: dict[str, Any]) -> str:
    schedules = [f"{code(one['cron'])} ({one.get('timezone', 'UTC')})" for one in deployment.get("schedules", [])]
    return f"Scheduled at {' and '.join(schedules)}." if schedules else "Started by hand, or by another flow."


def _how_many(limit: dict[str, Any]) -> str:
    waits = {"ENQUEUE": "others wait", "CANCEL_NEW": "a further one is cancelled"}[limit["collision_strategy"]]
    return f"At most {limit['limit']} at once; {waits}."
