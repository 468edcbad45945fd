"""Flow runs as they are answered over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.http_api.office import StartedRun


class RunAnswer(BaseModel):
    """A run of a deployment, started by the caller."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "4f0d8f0a-3c3e-4f5e-8b52-0c6f6a1d2b11",
                    "name": "open notes",
                    "state": "Running",
                    "message": "",
                    "ended": False,
                    "url": "https://prefect.example.com/runs/flow-run/4f0d8f0a-3c3e-4f5e-8b52-0c6f6a1d2b11",
                }
            ]
        },
    )

    id: str
    name: str
    state: Annotated[str, Field(description="As Prefect names it: Scheduled, Running, Completed, Failed …")]
    message: Annotated[str, Field(description="Why it is in that state; of a failed one what went wrong.")]
    ended: Annotated[bool, Field(description="Whether it stays in that state.")]
    url: Annotated[str, Field(description="Its page in Prefect's UI; empty where that is not known.")]

    @classmethod
    def of(cls, run: StartedRun) -> RunAnswer:
        return cls(id=run.id, name=run.name, state=run.state, message=run.message, ended=run.ended, url=run.url)
