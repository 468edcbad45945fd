"""What serves is held against what was trained: a model is proven by held-out houses, or its deployment is undone."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from desks import desk_at
from model_deployer import ANSWERS, Deployer
from trained_models import train_houses, unique_group

from trainmaster.budget.budgets import Payer
from trainmaster.commands.endpoints.deploying import carry_out, planned
from trainmaster.endpoints.models import lineage, registry
from trainmaster.endpoints.models.approving import ApprovalRequest, decide_on_version
from trainmaster.endpoints.models.package import inspect_model
from trainmaster.endpoints.models.registering import register_job, training_of
from trainmaster.endpoints.plan import PACKAGE_TAG
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.endpoints.results import ServedModel
from trainmaster.endpoints.seen import seen_endpoints
from trainmaster.errors import DeploymentFailedError, ModelRefusedError, NotApprovedError

CARD = {
    "model_version": "v1",
    "features": {"sqft": {"min": 500, "max": 3000, "mean": 1800}},
    "target": {"max": 900_000},
}
BY_SIZE = "200 * data['sqft']"


@pytest.fixture
def deployer(embedded: Any, tmp_path: Path) -> Iterator[Deployer]:
    with desk_at(tmp_path, embedded.environment, poll_seconds=0.05) as desk:
        made = Deployer(desk)
        yield made
        made.remove()


@pytest.fixture(scope="module")
def trained(jobs: Any) -> registry.Registered:
    """The version that a real training was registered as; nobody has decided about it."""
    return register_job(jobs.sagemaker, jobs.s3, train_houses(jobs, group=unique_group()))


def artifact(jobs: Any, price: str, trained: Mapping[float, float] | None = None, *, uri: str = "", **code: str) -> str:
    """A model that answers `price`; `trained` are the prices its training gave houses by their size, `code` more files of code/."""
    files = {"model_card.json": json.dumps(CARD), "code/inference.py": ANSWERS.format(version="v1", price=price)}
    if trained is not None:
        examples = [{"inputs": {"sqft": size}, "predicted_price": value} for size, value in trained.items()]
        files["smoke_test.json"] = json.dumps({"predictions": examples})
    files |= {f"code/{name.replace('_', '.')}": text for name, text in code.items()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    uri = uri or f"s3://{jobs.bucket}/models/{uuid4().hex}/model.tar.gz"
    jobs.s3.put_object(Bucket=jobs.bucket, Key=uri.removeprefix(f"s3://{jobs.bucket}/"), Body=out.getvalue())
    return uri


def from_registry(deployer: Deployer, group: str) -> ServedModel:
    request = EndpointRequest(model_group=group, endpoint_name=deployer.name)
    return carry_out(deployer.desk, planned(deployer.desk, request), Payer())


def approve(jobs: Any, group: str) -> None:
    decide_on_version(jobs.sagemaker, jobs.s3, ApprovalRequest(model_group=group, model_version=1))


def said_of(served: ServedModel, what: str) -> str:
    return next(row["value"] for row in served.table() if row["what"] == what)


def test_a_trained_model_prices_held_out_houses_as_its_training_did_and_is_known_by_its_version(
    deployer: Deployer, trained: registry.Registered
) -> None:
    served = deployer.deploy(trained.model_uri)
    assert served.smoke_test.agreement.examples == 20
    assert said_of(served, "agreement").startswith("20 held-out houses are priced as in training")
    assert deployer.tags(deployer.config()["EndpointConfigArn"])[PACKAGE_TAG] == trained.arn
    versions = registry.versions(deployer.sagemaker, trained.group)
    [found] = lineage.lineages(versions, seen_endpoints(deployer.desk))
    assert (found.version.arn, found.endpoints) == (trained.arn, (deployer.name,))


def test_what_was_rejected_is_neither_deployed_by_its_address_nor_gone_back_to(
    deployer: Deployer, jobs: Any, trained: registry.Registered
) -> None:
    served = deployer.deploy(trained.model_uri)
    deployer.deploy(deployer.model("newer"))
    registry.decide(jobs.sagemaker, trained, "Rejected", "prices villas too low")
    try:
        with pytest.raises(NotApprovedError, match=r"was rejected \(prices villas too low\)"):
            deployer.deploy(trained.model_uri)
        with pytest.raises(NotApprovedError, match=r"was rejected \(prices villas too low\)"):
            deployer.back(served.config_name)
    finally:
        jobs.sagemaker.update_model_package(ModelPackageArn=trained.arn, ModelApprovalStatus=registry.PENDING)


def test_the_newest_approved_version_is_deployed_and_no_other(
    deployer: Deployer, jobs: Any, trained: registry.Registered
) -> None:
    with pytest.raises(NotApprovedError, match=f"No version of model group {trained.group} is approved"):
        from_registry(deployer, trained.group)
    assert deployer.standing() == (set(), set())
    approve(jobs, trained.group)
    assert from_registry(deployer, trained.group).model_uri == trained.model_uri
    assert deployer.planned(trained.model_uri)[2].steps == ()


def test_a_registered_artifact_that_was_written_over_is_refused_before_the_endpoint_is_touched(
    deployer: Deployer, jobs: Any, trained: registry.Registered
) -> None:
    group, uri = unique_group(), artifact(jobs, "7")
    training = training_of(jobs.describe(trained.job_name))
    for name, address in ((group, uri), (trained.group, trained.model_uri)):  # the job's tag is its own model's again
        registry.register(jobs.sagemaker, name, inspect_model(jobs.s3, address), training)
    approve(jobs, group)
    artifact(jobs, "8", uri=uri)
    with pytest.raises(ModelRefusedError, match="is not what was registered"):
        from_registry(deployer, group)
    assert deployer.standing() == (set(), set())


def test_an_artifact_of_an_older_training_is_deployed_and_its_agreement_is_said_to_be_unknown(
    deployer: Deployer, jobs: Any
) -> None:
    served = deployer.deploy(artifact(jobs, "7"))
    assert said_of(served, "agreement").startswith("not checked: the artifact has no smoke_test.json")


def test_a_model_that_serves_otherwise_than_it_was_trained_gives_way_to_what_served_before(
    deployer: Deployer, jobs: Any
) -> None:
    before = deployer.deploy(artifact(jobs, BY_SIZE, {900: 180_000, 1500: 300_000.4}))
    with pytest.raises(DeploymentFailedError, match="prices 1 of 2 held-out houses otherwise"):
        deployer.deploy(artifact(jobs, BY_SIZE, {900: 180_000, 1500: 299_000}))
    found = deployer.described()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", before.config_name)


def test_a_package_that_cannot_be_installed_is_known_only_when_it_starts_and_then_undone(
    deployer: Deployer, jobs: Any
) -> None:
    """pip is told to look nowhere, as where a package has gone from its index."""
    uri = artifact(jobs, "7", requirements_txt="--no-index\nno-such-package-of-anybody==1.0\n")
    with pytest.raises(DeploymentFailedError, match="did not pass the ping health check"):
        deployer.deploy(uri)
    assert deployer.sagemaker.list_endpoints(NameContains=deployer.name)["Endpoints"] == []


def test_a_package_that_nothing_installs_is_refused_before_the_endpoint_is_touched(
    deployer: Deployer, jobs: Any
) -> None:
    starts = "import shapes\n" + ANSWERS.format(version="v1", price="7")
    uri = artifact(jobs, "7", shapes_py="import torch\n", inference_py=starts)
    with pytest.raises(ModelRefusedError, match=r"code/shapes\.py imports torch"):
        deployer.deploy(uri)
    assert deployer.standing() == (set(), set())
