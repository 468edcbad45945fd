"""A template's image for EC2: a machine installs what it names, says so, powers off, and becomes an AMI; then it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from template_folder import MACHINE, TemplateFolder

from trainmaster.budget.ledger import Ledger
from trainmaster.errors import ImageFailedError, NotConfiguredError, RefusedError
from trainmaster.workspaces.images.compiling import compile_image, planned_image, template_with_image
from trainmaster.workspaces.images.current import image_of
from trainmaster.workspaces.images.left import settle_left
from trainmaster.workspaces.images.machine_building import find_builder, machine_cost

STEPS = ["launch builder", "await builder", "create AMI", "await AMI", "terminate builder"]


def quiet(_said: str) -> None:
    """To whom the steps do not matter."""


@pytest.fixture
def folder(tmp_path: Path, embedded: Any) -> Iterator[TemplateFolder]:
    with TemplateFolder.at(tmp_path, embedded) as folder:
        yield folder


def kinds(steps: Any) -> list[str]:
    return [f"{one.verb} {one.noun}" for one in steps]


def amis(folder: TemplateFolder, name: str) -> list[dict[str, Any]]:
    named = {"Name": "name", "Values": [f"trainmaster-{name}-*"]}
    found: list[dict[str, Any]] = folder.desk.client("ec2").describe_images(Owners=["self"], Filters=[named])["Images"]
    return found


def machines(folder: TemplateFolder, name: str) -> list[dict[str, Any]]:
    named = {"Name": "tag:trainmaster:template", "Values": [name]}
    found = folder.desk.client("ec2").describe_instances(Filters=[named])["Reservations"]
    return [one for reservation in found for one in reservation["Instances"]]


def test_a_template_is_compiled_to_an_ami_by_the_same_command(folder: TemplateFolder) -> None:
    name = folder.write(MACHINE)
    planned = planned_image(folder.desk, folder.request(name))
    assert kinds(planned.steps) == STEPS
    assert planned.cost == machine_cost(folder.desk).worst
    assert amis(folder, name) == []
    compiled = compile_image(folder.desk, folder.request(name), quiet)
    assert kinds(compiled.steps) == STEPS
    assert [one["ImageId"] for one in amis(folder, name)] == [compiled.image.ami_id]
    assert image_of(folder.desk, template_with_image(folder.desk, name)) == compiled.image
    assert planned_image(folder.desk, folder.request(name)).steps == ()


def test_its_machine_asks_for_no_secret_by_the_old_way_is_encrypted_and_is_gone_in_the_end(
    folder: TemplateFolder,
) -> None:
    name = folder.write(MACHINE)
    compile_image(folder.desk, folder.request(name), quiet)
    [machine] = machines(folder, name)
    assert machine["State"]["Name"] == "terminated"
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    known = folder.desk.ledger.find(f"image-{name}-{planned_image(folder.desk, folder.request(name)).fingerprint}-1")
    assert known is not None
    assert known.bill is not None
    assert 0 < known.bill < known.charge.amount


def test_a_machine_that_installed_not_all_becomes_no_image_and_is_billed_and_removed(folder: TemplateFolder) -> None:
    name = folder.write({**MACHINE, "image": {"packages": {"pip": ["polars==0.0.0+nowhere"]}}})
    with pytest.raises(ImageFailedError, match=r"No matching distribution found for polars==0\.0\.0\+nowhere"):
        compile_image(folder.desk, folder.request(name), quiet)
    assert amis(folder, name) == []
    assert [one["State"]["Name"] for one in machines(folder, name)] == ["terminated"]
    assert folder.desk.ledger.open_reservations() == []
    with pytest.raises(ImageFailedError):  # another machine, paid for anew
        compile_image(folder.desk, folder.request(name), quiet)
    assert len(machines(folder, name)) == 2


@pytest.mark.parametrize("step", STEPS)
def test_cut_off_after_any_step_the_same_again_makes_one_image_of_one_machine(
    folder: TemplateFolder, step: str
) -> None:
    name = folder.write(MACHINE)

    class CutOffError(Exception):
        """As a kill: nothing is put right on the way out."""

    seen: list[str] = []

    def until(said: str) -> None:
        if seen and seen[-1].startswith(step):
            raise CutOffError
        seen.append(said)

    if step == STEPS[-1]:
        compile_image(folder.desk, folder.request(name), until)
    else:
        with pytest.raises(CutOffError):
            compile_image(folder.desk, folder.request(name), until)
    compile_image(folder.desk, folder.request(name), quiet)
    assert [one["State"]["Name"] for one in machines(folder, name)] == ["terminated"]
    assert len(amis(folder, name)) == 1
    assert folder.desk.ledger.open_reservations() == []


def test_what_aws_refuses_to_launch_is_paid_for_by_nobody(folder: TemplateFolder, embedded: Any) -> None:
    name = folder.write(MACHINE)
    fault = {"operation": "RunInstances", "count": 1, "error": "UnauthorizedOperation", "status": 403}
    embedded.control("POST", "faults", fault)
    try:
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            compile_image(folder.desk, folder.request(name), quiet)
    finally:
        embedded.control("DELETE", "faults")
    assert folder.desk.ledger.open_reservations() == []
    compile_image(folder.desk, folder.request(name), quiet)
    assert len(machines(folder, name)) == 1


def test_nothing_is_reserved_for_a_template_whose_ami_nobody_knows(folder: TemplateFolder) -> None:
    service = {**MACHINE["service_config"], "ami_parameter": "/aws/service/nobody/knows/ami-id"}
    name = folder.write({**MACHINE, "service_config": service})
    with pytest.raises(NotConfiguredError, match="/aws/service/nobody/knows/ami-id"):
        compile_image(folder.desk, folder.request(name), quiet)
    assert folder.desk.ledger.open_reservations() == []


def test_a_machine_that_ec2_does_not_show_at_once_is_waited_for(folder: TemplateFolder) -> None:
    name = folder.write(MACHINE)
    launched: list[str] = []

    class Late:
        """EC2 as it is now and then: what was launched it shows a moment later."""

        def __init__(self, ec2: Any) -> None:
            self._ec2 = ec2

        def __getattr__(self, operation: str) -> Any:
            return getattr(self._ec2, operation)

        def run_instances(self, **request: Any) -> Any:
            launched.extend(["not yet", "nor now"])
            return self._ec2.run_instances(**request)

        def describe_instances(self, **request: Any) -> Any:
            if launched:
                launched.pop()
                return {"Reservations": []}
            return self._ec2.describe_instances(**request)

    desk = folder.desk
    late = replace(desk, client=lambda service: Late(desk.client(service)) if service == "ec2" else desk.client(service))  # fmt: skip
    assert compile_image(late, folder.request(name), quiet).image.ami_id == amis(folder, name)[0]["ImageId"]
    assert len(machines(folder, name)) == 1


@pytest.mark.parametrize("overtaken", ["run_instances", "get_console_output"])
def test_who_is_overtaken_takes_the_image_the_other_made(folder: TemplateFolder, overtaken: str) -> None:
    name = folder.write(MACHINE)
    others: list[str] = []

    class Overtaken:
        """EC2, where another run makes the whole image before one call of this one."""

        def __init__(self, ec2: Any) -> None:
            self._ec2 = ec2

        def __getattr__(self, operation: str) -> Any:
            if operation == overtaken and not others:
                others.append(compile_image(folder.desk, folder.request(name), quiet).image.ami_id)
            return getattr(self._ec2, operation)

    desk = folder.desk
    slow = replace(desk, client=lambda service: Overtaken(desk.client(service)) if service == "ec2" else desk.client(service))  # fmt: skip
    assert [compile_image(slow, folder.request(name), quiet).image.ami_id] == others
    assert len(machines(folder, name)) == 1
    assert desk.ledger.open_reservations() == []


def test_of_several_that_compile_at_once_one_makes_it(folder: TemplateFolder) -> None:
    name = folder.write(MACHINE)

    def compiled(_: int) -> str:
        return compile_image(folder.desk, folder.request(name), quiet).image.ami_id

    with ThreadPoolExecutor(3) as pool:
        made = set(pool.map(compiled, range(3)))
    assert made == {amis(folder, name)[0]["ImageId"]}
    assert len(machines(folder, name)) == 1


def test_a_machine_at_work_on_one_template_is_not_taken_for_that_of_another_of_the_same_packages(
    folder: TemplateFolder,
) -> None:
    image = {"packages": {"pip": [f"polars==1.{uuid4().int % 10**6}.0"]}}
    name, other = folder.write({**MACHINE, "image": image}), folder.write({**MACHINE, "image": image})

    class CutOffError(Exception):
        """As a kill."""

    def until_launched(said: str) -> None:
        if said.startswith("await builder"):
            raise CutOffError

    with pytest.raises(CutOffError):
        compile_image(folder.desk, folder.request(name), until_launched)
    assert kinds(planned_image(folder.desk, folder.request(other)).steps) == STEPS
    compile_image(folder.desk, folder.request(other), quiet)
    assert kinds(compile_image(folder.desk, folder.request(name), quiet).steps)[0] != "launch builder"
    assert [len(machines(folder, one)) for one in (name, other)] == [1, 1]


def test_a_machine_somebody_removed_meanwhile_is_billed_in_full_and_replaced(folder: TemplateFolder) -> None:
    name = folder.write(MACHINE)

    class CutOffError(Exception):
        """As a kill."""

    def until_launched(said: str) -> None:
        if said.startswith("await builder"):
            raise CutOffError

    with pytest.raises(CutOffError):
        compile_image(folder.desk, folder.request(name), until_launched)
    fingerprint = planned_image(folder.desk, folder.request(name)).fingerprint
    builder = find_builder(folder.desk, template_with_image(folder.desk, name))
    assert builder is not None
    folder.desk.client("ec2").terminate_instances(InstanceIds=[builder["InstanceId"]])
    compile_image(folder.desk, folder.request(name), quiet)
    bills = [folder.desk.ledger.find(f"image-{name}-{fingerprint}-{number}") for number in (1, 2)]
    assert [one is not None and one.bill == one.charge.amount for one in bills] == [True, False]


def test_before_it_is_compiled_its_workspaces_are_refused_with_the_command(folder: TemplateFolder) -> None:
    name = folder.write(MACHINE)
    with pytest.raises(RefusedError, match=f"trainmaster compile {name}"):
        image_of(folder.desk, template_with_image(folder.desk, name))


def test_a_machine_that_a_run_left_over_is_removed_and_billed_once_nobody_can_wait_for_it(
    folder: TemplateFolder,
) -> None:
    name = folder.write(MACHINE)

    class CutOffError(Exception):
        """As a kill."""

    def until_launched(said: str) -> None:
        if said.startswith("await builder"):
            raise CutOffError

    with pytest.raises(CutOffError):
        compile_image(folder.desk, folder.request(name), until_launched)
    assert list(settle_left(folder.desk)) == []
    ledger = Ledger(folder.desk.catalogue.database, clock=lambda: datetime.now(UTC) + timedelta(hours=4))
    [left] = settle_left(replace(folder.desk, ledger=ledger))
    assert (left.finding, left.billed) == ("settled", left.reserved)
    assert [one["State"]["Name"] for one in machines(folder, name)] == ["terminated"]
    assert folder.desk.ledger.open_reservations() == []
