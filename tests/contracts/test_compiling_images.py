"""A template's image for Studio: made once in CodeBuild, ECR and SageMaker, paid for first, and found by what it is made of."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from studio_parts import Studio
from template_folder import STUDIO, TemplateFolder

from trainmaster.budget.budgets import ACCOUNT
from trainmaster.budget.charge import Charge
from trainmaster.budget.ledger import Ledger
from trainmaster.errors import ImageFailedError, OverBudgetError, RefusedError, UnknownPriceError
from trainmaster.workspaces.images.building import wanted_image
from trainmaster.workspaces.images.compiling import compile_image, planned_image, template_with_image
from trainmaster.workspaces.images.current import image_of
from trainmaster.workspaces.images.left import settle_left
from trainmaster.workspaces.images.names import is_attached
from trainmaster.workspaces.images.plan import BUILDER_ROLE
from trainmaster.workspaces.templates.loading import find_template

FIRST = ["create repository", "create role", "create build project", "write Dockerfile", "build container image",
         "create image", "create image version", "create app image config"]  # fmt: skip


def quiet(_said: str) -> None:
    """To whom the steps do not matter."""


@pytest.fixture
def folder(tmp_path: Path, embedded: Any) -> Iterator[TemplateFolder]:
    with TemplateFolder.at(tmp_path, embedded) as folder:
        yield folder


def of(template: dict[str, Any], **config: Any) -> dict[str, Any]:
    return {**template, "service_config": {**template["service_config"], **config}}


def kinds(steps: Any) -> list[str]:
    return [f"{one.verb} {one.noun}" for one in steps]


def builds(folder: TemplateFolder, name: str) -> list[str]:
    codebuild = folder.desk.client("codebuild")
    projects = [one for one in codebuild.list_projects()["projects"] if one.startswith(f"trainmaster-{name}-")]
    return [id_ for one in projects for id_ in codebuild.list_builds_for_project(projectName=one)["ids"]]


def test_a_template_is_compiled_to_an_image_that_its_workspaces_start_from(folder: TemplateFolder) -> None:
    name = folder.write(STUDIO)
    planned = planned_image(folder.desk, folder.request(name))
    assert set(FIRST) - set(kinds(planned.steps)) <= {"create role"}  # which all images share
    assert planned.cost == Decimal("1.20")  # an hour at most of a machine that costs so much
    assert "polars==1.33.1" in planned.recipe
    assert builds(folder, name) == []
    said: list[str] = []
    compiled = compile_image(folder.desk, folder.request(name), said.append)
    assert kinds(compiled.steps) == kinds(planned.steps)
    assert said == [one.sentence() for one in planned.steps]
    assert image_of(folder.desk, template_with_image(folder.desk, name)) == compiled.image
    sagemaker = folder.desk.client("sagemaker")
    version = sagemaker.describe_image_version(ImageName=f"trainmaster-{name}", Alias=planned.fingerprint)
    assert version["ImageVersionArn"] == compiled.image.image_version_arn
    assert version["BaseImage"].endswith(f"/trainmaster-workspaces/{name}:{planned.fingerprint}")


def test_what_is_compiled_already_is_not_built_again(folder: TemplateFolder) -> None:
    name = folder.write(STUDIO)
    first = compile_image(folder.desk, folder.request(name), quiet)
    again = compile_image(folder.desk, folder.request(name), quiet)
    assert (again.image, again.steps) == (first.image, ())
    folder.write({**of(STUDIO, default_instance_type="ml.m5.large"), "estimated_cost": {"per_hour": "0.12"}}, name)
    assert planned_image(folder.desk, folder.request(name)).steps == ()
    assert len(builds(folder, name)) == 1


def test_another_package_is_another_image_and_the_former_stays(folder: TemplateFolder) -> None:
    name = folder.write(STUDIO)
    first = compile_image(folder.desk, folder.request(name), quiet).image
    folder.write({**STUDIO, "image": {**STUDIO["image"], "packages": {"pip": ["polars==1.34.0"]}}}, name)
    with pytest.raises(RefusedError, match=f"trainmaster compile {name}"):
        image_of(folder.desk, template_with_image(folder.desk, name))
    second = compile_image(folder.desk, folder.request(name), quiet).image
    assert second.image_version_arn != first.image_version_arn
    sagemaker = folder.desk.client("sagemaker")
    assert sagemaker.describe_image_version(ImageName=f"trainmaster-{name}", Alias=first.fingerprint)["Version"] == 1


def test_a_build_is_paid_for_before_it_runs_and_billed_by_its_minutes(folder: TemplateFolder) -> None:
    name = folder.write(STUDIO)
    compiled = compile_image(folder.desk, folder.request(name), quiet)
    known = folder.desk.ledger.find(f"image-{name}-{compiled.image.fingerprint}-1")
    assert known is not None
    assert (known.charge.amount, known.bill) == (Decimal("1.20"), Decimal("0.02"))


def test_a_build_that_no_budget_has_money_for_is_not_begun(folder: TemplateFolder) -> None:
    name = folder.write(STUDIO)
    folder.desk.ledger.set_limit(ACCOUNT, Decimal("1.00"), set_by="test")
    with pytest.raises(OverBudgetError, match=r"1\.20"):
        compile_image(folder.desk, folder.request(name), quiet)
    assert builds(folder, name) == []


def test_where_nobody_knows_what_a_build_costs_none_is_begun(tmp_path: Path, embedded: Any) -> None:
    with TemplateFolder.at(tmp_path, embedded, TRAINMASTER_REGION="eu-west-1") as folder:
        name = folder.write(STUDIO)
        with pytest.raises(UnknownPriceError, match="build"):
            planned_image(folder.desk, folder.request(name))


def test_a_build_that_fails_says_why_is_billed_and_can_be_tried_again(folder: TemplateFolder) -> None:
    unreachable = {**STUDIO, "image": {**STUDIO["image"], "base": "registry.invalid/base:1.0"}}
    name = folder.write(unreachable)
    with pytest.raises(ImageFailedError, match="no such host"):
        compile_image(folder.desk, folder.request(name), quiet)
    fingerprint = planned_image(folder.desk, folder.request(name)).fingerprint
    with pytest.raises(ImageFailedError, match="no such host"):
        compile_image(folder.desk, folder.request(name), quiet)
    bills = [folder.desk.ledger.find(f"image-{name}-{fingerprint}-{number}") for number in (1, 2)]
    assert [one and one.bill for one in bills] == [Decimal("0.02")] * 2
    assert len(builds(folder, name)) == 2


def test_of_several_that_compile_at_once_one_builds(folder: TemplateFolder) -> None:
    name = folder.write(STUDIO)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: compile_image(folder.desk, folder.request(name), quiet).image, range(4)))
    assert len(set(made)) == 1
    assert len(builds(folder, name)) == 1
    assert folder.desk.ledger.open_reservations() == []


def test_the_image_is_attached_to_its_domain_beside_those_that_are(folder: TemplateFolder, embedded: Any) -> None:
    studio = Studio(embedded)
    domain_id = studio.domain()
    domain = folder.desk.client("sagemaker").describe_domain(DomainId=domain_id)["DomainName"]
    names = [folder.write(of(STUDIO, domain=domain)) for _ in range(2)]
    for name in names:
        assert kinds(compile_image(folder.desk, folder.request(name), quiet).steps)[-1] == "attach image"
    described = folder.desk.client("sagemaker").describe_domain(DomainId=domain_id)
    assert all(is_attached(described, template_with_image(folder.desk, name)) for name in names)
    assert planned_image(folder.desk, folder.request(names[0])).steps == ()


def test_where_the_domain_is_not_there_yet_that_is_said(folder: TemplateFolder) -> None:
    domain = f"domain-{uuid4().hex[:8]}"
    name = folder.write(of(STUDIO, domain=domain))
    assert planned_image(folder.desk, folder.request(name)).domain == domain


def test_a_template_without_an_image_is_refused(folder: TemplateFolder) -> None:
    name = folder.write({key: value for key, value in STUDIO.items() if key != "image"})
    with pytest.raises(RefusedError, match="no image of its own"):
        planned_image(folder.desk, folder.request(name))


@pytest.mark.parametrize("step", [*FIRST[2:]])
def test_cut_off_before_any_step_the_same_again_goes_on_and_builds_once(folder: TemplateFolder, step: str) -> None:
    name = folder.write(STUDIO)

    class CutOffError(Exception):
        """As a kill: nothing is put right on the way out."""

    def until(said: str) -> None:
        if said.startswith(step):
            raise CutOffError

    with pytest.raises(CutOffError):
        compile_image(folder.desk, folder.request(name), until)
    compiled = compile_image(folder.desk, folder.request(name), quiet)
    assert image_of(folder.desk, template_with_image(folder.desk, name)) == compiled.image
    assert len(builds(folder, name)) == 1
    assert folder.desk.ledger.open_reservations() == []


def test_cut_off_while_it_builds_the_same_again_waits_for_that_build_and_bills_it(folder: TemplateFolder) -> None:
    name = folder.write(STUDIO)

    class CutOffError(Exception):
        """As a kill while the build is under way."""

    class Killed:
        """CodeBuild, of whom nothing is heard after a build began."""

        def __init__(self, codebuild: Any) -> None:
            self._codebuild = codebuild

        def __getattr__(self, operation: str) -> Any:
            if operation != "start_build":
                return getattr(self._codebuild, operation)

            def started_and_cut_off(**request: Any) -> None:
                self._codebuild.start_build(**request)
                raise CutOffError

            return started_and_cut_off

    desk = folder.desk
    dying = replace(desk, client=lambda service: Killed(desk.client(service)) if service == "codebuild" else desk.client(service))  # fmt: skip
    with pytest.raises(CutOffError):
        compile_image(dying, folder.request(name), quiet)
    [reservation] = desk.ledger.open_reservations()
    compile_image(desk, folder.request(name), quiet)
    assert len(builds(folder, name)) == 1
    settled = desk.ledger.find(reservation.key)
    assert settled is not None
    assert settled.bill == Decimal("0.02")


def test_the_builder_may_do_its_work_in_each_place_also_after_a_kill_between_role_and_policy(
    tmp_path: Path, embedded: Any
) -> None:
    class CutOffError(Exception):
        """As a kill."""

    class Killed:
        """Ends the run in the place of its call that lets the role do anything."""

        def __init__(self, iam: Any) -> None:
            self._iam = iam

        def __getattr__(self, operation: str) -> Any:
            return getattr(self._iam, operation)

        def put_role_policy(self, **_request: Any) -> None:
            raise CutOffError

    bucket = f"place-{uuid4().hex[:8]}"
    with TemplateFolder.at(tmp_path, embedded, bucket=bucket) as folder:
        desk, name = folder.desk, folder.write(STUDIO)
        desk.client("s3").create_bucket(Bucket=bucket)
        dying = replace(desk, client=lambda service: Killed(desk.client(service)) if service == "iam" else desk.client(service))  # fmt: skip
        with pytest.raises(CutOffError):
            compile_image(dying, folder.request(name), quiet)
        compile_image(desk, folder.request(name), quiet)
        iam = desk.client("iam")
        policies = [iam.get_role_policy(RoleName=BUILDER_ROLE, PolicyName=one)["PolicyDocument"]
                    for one in iam.list_role_policies(RoleName=BUILDER_ROLE)["PolicyNames"]]  # fmt: skip
        assert any(f"arn:aws:s3:::{bucket}/" in str(one) for one in policies)


class TestLeft:
    """What a run that was cut off left reserved, and nobody starts again."""

    def test_a_build_that_is_over_is_billed(self, folder: TemplateFolder) -> None:
        name = folder.write(STUDIO)
        desk, wanted = folder.desk, wanted_image(folder.desk, find_template(folder.desk.settings, name))
        charge = Charge(f"image-{name}-1", Decimal("1.20"), Decimal("1.20"), wanted.project_arn)
        desk.ledger.reserve(charge)
        compile_image(desk, folder.request(name), quiet)
        assert list(settle_left(desk)) == []  # of this one CodeBuild knows nothing yet, and it is young
        desk.client("codebuild").start_build(**wanted.build(charge.key))
        until_over(folder, name)
        assert [(one.key, one.finding, one.billed) for one in settle_left(desk)] == [
            (charge.key, "settled", Decimal("0.02"))
        ]
        assert list(settle_left(desk)) == []

    def test_what_was_never_begun_is_released_once_it_could_not_be_under_way(self, folder: TemplateFolder) -> None:
        name = folder.write(STUDIO)
        wanted = wanted_image(folder.desk, find_template(folder.desk.settings, name))
        charge = Charge(f"image-{name}-1", Decimal("1.20"), Decimal("1.20"), wanted.project_arn)
        folder.desk.ledger.reserve(charge)
        assert list(settle_left(folder.desk)) == []
        later = replace(folder.desk, ledger=Ledger(folder.desk.catalogue.database, clock=lambda: datetime.now(UTC) + timedelta(hours=3)))  # fmt: skip
        assert [(one.key, one.finding) for one in settle_left(later)] == [(charge.key, "released")]
        assert folder.desk.ledger.open_reservations() == []


def until_over(folder: TemplateFolder, name: str) -> None:
    codebuild = folder.desk.client("codebuild")
    deadline = time.monotonic() + 90
    while any(one["buildStatus"] == "IN_PROGRESS" for one in codebuild.batch_get_builds(ids=builds(folder, name))["builds"]):  # fmt: skip
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_images_attached_at_the_same_moment_are_all_attached_once_each_was_tried_again(
    folder: TemplateFolder, embedded: Any
) -> None:
    domain_id = Studio(embedded).domain()
    sagemaker = folder.desk.client("sagemaker")
    domain = sagemaker.describe_domain(DomainId=domain_id)["DomainName"]
    names = [folder.write(of(STUDIO, domain=domain)) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: compile_image(folder.desk, folder.request(name), quiet), names))
    for name in names:  # whom another had pushed out
        compile_image(folder.desk, folder.request(name), quiet)
    described = sagemaker.describe_domain(DomainId=domain_id)
    assert all(is_attached(described, template_with_image(folder.desk, name)) for name in names)
