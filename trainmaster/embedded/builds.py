"""CodeBuild over moto's: a build takes a moment, keeps its variables, and its image is in ECR afterwards. Nothing is built here."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from moto.ecr.models import ecr_backends
from werkzeug.wrappers import Response

from trainmaster.embedded.calls import Call
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import Json

SERVICE = "codebuild"
BUILD_SECONDS = 1.0
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_NOWHERE = re.compile(r"^FROM\s+\S*\.invalid/", re.MULTILINE)
"""Hosts that are sure not to be there: https://www.rfc-editor.org/rfc/rfc2606"""


@dataclass
class _Build:
    request: Json
    began: float
    ended: float | None = None
    failure: str = ""
    stopped: bool = False

    @property
    def variables(self) -> list[dict[str, str]]:
        listed: list[dict[str, str]] = self.request.get("environmentVariablesOverride", [])
        return [{"type": "PLAINTEXT", **one} for one in listed]

    def variable(self, name: str) -> str:
        return next((one["value"] for one in self.variables if one["name"] == name), "")


class Builds:
    """Answers calls of CodeBuild, most of them by moto."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._builds: dict[str, _Build] = {}
        self._tokens: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def answer(self, call: Call, others: Callable[[Call], Response]) -> Response:
        """The answer of `others`, with what moto makes up put right."""
        if call.operation not in ("StartBuild", "BatchGetBuilds", "StopBuild"):
            return others(call)
        asked: Json = json.loads(call.request.get_data() or b"{}")
        with self._lock:
            if call.operation == "StartBuild" and (known := self._tokens.get(asked.get("idempotencyToken", ""))):
                return _json(known)
            response = others(call)
            if response.status_code != 200:
                return response
            body = json.loads(response.get_data())
            if call.operation == "StartBuild":
                self._builds[body["build"]["id"]] = _Build(asked, self._account.now())
            if call.operation == "StopBuild":
                self._builds[body["build"]["id"]].stopped = True
            for described in body.get("builds", [body.get("build")]):
                self._put_right(described)
            answer = json.dumps(body).encode()
            if call.operation == "StartBuild" and (token := asked.get("idempotencyToken")):
                self._tokens[token] = answer
        return _json(answer)

    def _put_right(self, described: dict[str, Any]) -> None:
        build = self._builds[described["id"]]
        if build.ended is None and (build.stopped or self._account.now() - build.began >= BUILD_SECONDS):
            build.ended = self._account.now()
            build.failure = "" if build.stopped else self._made(build)
        described["startTime"] = build.began
        described["environment"] = {**described.get("environment", {}), "environmentVariables": build.variables}
        for invented in ("phases", "logs", "endTime"):
            described.pop(invented, None)
        if build.ended is None:
            described.update(buildStatus="IN_PROGRESS", buildComplete=False, currentPhase="BUILD")
            return
        status = "STOPPED" if build.stopped else "FAILED" if build.failure else "SUCCEEDED"
        described.update(buildStatus=status, buildComplete=True, currentPhase="COMPLETED", endTime=build.ended)
        if build.failure:
            contexts = [{"statusCode": "COMMAND_EXECUTION_ERROR", "message": build.failure}]
            described["phases"] = [{"phaseType": "BUILD", "phaseStatus": "FAILED", "contexts": contexts}]

    def _made(self, build: _Build) -> str:
        """Put an image without anything in it into ECR; why that could not be."""
        bucket, _, folder = build.request.get("sourceLocationOverride", "").partition("/")
        try:
            dockerfile = self._account.s3.get_object(Bucket=bucket, Key=f"{folder}Dockerfile")["Body"].read()
        except ClientError as error:
            return f"The source could not be downloaded: {error}"
        if _NOWHERE.search(dockerfile.decode()):
            return "Error while executing command: docker buildx build. Reason: exit status 1: no such host"
        repository, tag = build.variable("IMAGE_REPOSITORY"), build.variable("IMAGE_TAG")
        ecr = ecr_backends[self._account.account_id][self._account.region]
        if repository not in ecr.repositories:
            return f"name unknown: The repository with name '{repository}' does not exist in the registry"
        if not any(tag in image.image_tags for image in ecr.repositories[repository].images):
            ecr.put_image(repository, json.dumps(_manifest(dockerfile)), tag, _MANIFEST)
        return ""


def _manifest(dockerfile: bytes) -> Mapping[str, Any]:
    digest = f"sha256:{hashlib.sha256(dockerfile).hexdigest()}"
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(dockerfile)}
    return {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": []}


def _json(body: bytes) -> Response:
    return Response(body, content_type="application/x-amz-json-1.1")
