"""The file of the policy: what is wrong with it is said by line and key, all at once; without one nothing is allowed."""

from decimal import Decimal
from pathlib import Path

import pytest

from trainmaster.budget.prices import shipped_prices
from trainmaster.errors import NotConfiguredError
from trainmaster.settings import Settings
from trainmaster.workspaces.policy.file import SHIPPED, load_policy, read_policy
from trainmaster.workspaces.policy.rules import RULES, SERVICES, Asked, Policy, check
from trainmaster.workspaces.rates import rates_of
from trainmaster.workspaces.templates.loading import load_templates

SHIPPED_TEMPLATES = load_templates(SHIPPED.parent / "workspaces")


def read(text: str) -> Policy:
    return read_policy(text, Path("policy.yaml"))


def refused(text: str) -> list[str]:
    with pytest.raises(NotConfiguredError) as error:
        read(text)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("The policy policy.yaml cannot be used")
    return [line.strip() for line in lines[1:-1]]


def test_the_shipped_policy_can_be_read_and_lets_everybody_train_and_serve() -> None:
    shipped = load_policy(Settings())
    for service in ("training", "endpoint"):
        assert check(shipped, Asked(service, instance_types=("ml.p5.48xlarge",))) == []
    assert set(shipped.roles) == {"researcher", "student", "owner"}


def test_the_shipped_default_role_has_every_service() -> None:
    shipped = load_policy(Settings())
    role = shipped.roles[shipped.default_role]
    assert role.services is None or set(role.services) == set(SERVICES)


def test_another_file_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text("default_role: nobody\nroles:\n  nobody:\n    services: []\n")
    found = load_policy(Settings(policy_file=file))
    assert [one.rule for one in check(found, Asked("training"))] == ["services"]


def test_a_change_of_the_file_holds_at_once(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    for services, is_allowed in (("[]", False), ("[training]", True), ("[]", False)):
        file.write_text(f"default_role: a\nroles: {{a: {{services: {services}}}}}\n")
        assert (check(load_policy(Settings(policy_file=file)), Asked("training")) == []) == is_allowed


def test_without_a_policy_nothing_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(NotConfiguredError, match=r"absent\.yaml cannot be read"):
        load_policy(Settings(policy_file=tmp_path / "absent.yaml"))


def test_an_empty_policy_is_none() -> None:
    assert refused("") == ["line 1, default_role: Field required", "line 1, roles: Field required"]


def test_unknown_keys_and_bad_values_are_refused_with_line_and_key_all_at_once() -> None:
    text = """default_role: researcher
roles:
  researcher:
    max_hourly_csot: 5
    auto_stop: 30
    services: [ec2, sagemaker]
    per_service:
      ec2:
        services: [ec2]
      traning: {}
colour: red
"""
    assert [line.partition(": ")[0] for line in refused(text)] == [
        "line 4, roles.researcher.max_hourly_csot",
        "line 5, roles.researcher.auto_stop",
        "line 6, roles.researcher.services[2]",
        "line 9, roles.researcher.per_service.ec2.services",
        "line 10, roles.researcher.per_service.traning",
        "line 11, colour",
    ]


def test_a_role_that_is_not_there_is_refused_wherever_it_is_named() -> None:
    text = f"""default_role: reseacher
roles:
  researcher: {{}}
teams:
  vision: gpu
users:
  {"1B3C5D7E-0000-4000-8000-000000000001"}: researcher
  {"1b3c5d7e-0000-4000-8000-000000000001"}: researcher
"""
    assert refused(text) == [
        "line 1, default_role: there is no role reseacher; there are researcher",
        "line 5, teams.vision: there is no role gpu; there are researcher",
        "line 7, users.1B3C5D7E-0000-4000-8000-000000000001: it is there as 1b3c5d7e-0000-4000-8000-000000000001 too",
    ]


def test_a_rule_that_means_nothing_to_a_service_is_refused() -> None:
    text = """default_role: a
roles:
  a:
    per_service:
      training: {auto_stop: 60, instance_types: ["*"]}
      ec2:
        max_workspaces: 2
"""
    assert refused(text) == [
        "line 5, roles.a.per_service.training.auto_stop: it means nothing to training; leave it out",
        "line 7, roles.a.per_service.ec2.max_workspaces: it counts workspaces of all services; set it for the role",
    ]


def test_an_amount_is_exactly_what_is_written() -> None:
    text = "default_role: a\nroles:\n  a:\n    max_hourly_cost: 0.1000000000000000055\n"
    assert str(read(text).roles["a"].max_hourly_cost) == "0.1000000000000000055"


def test_the_shipped_policy_is_a_file_of_the_repository() -> None:
    assert SHIPPED.is_file()


def test_the_documentation_tells_of_every_rule_and_its_example_can_be_used() -> None:
    text = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
    rows = [line.split("`")[1] for line in text.partition("| rule |")[2].splitlines() if line.startswith("| `")]
    assert rows == list(RULES)
    example = text.partition("```yaml\n")[2].partition("```")[0]
    assert read(example).default_role == "researcher"


@pytest.mark.parametrize("name", sorted(SHIPPED_TEMPLATES))
def test_the_shipped_policy_lets_everybody_open_every_shipped_template_as_it_is(name: str) -> None:
    template = SHIPPED_TEMPLATES[name]
    config, free = template.service_config, template.service_type == "sagemaker_lab"
    types = (config.default_instance_type,) if config.default_instance_type else ()
    rates = rates_of(shipped_prices(), template, "us-east-1")
    asked = Asked(
        template.service_type,
        instance_types=types,
        hourly_cost=rates.total,
        data_classification=template.policy.data_classification,
        tags=template.policy.tags,
        auto_stop_minutes=config.auto_stop_minutes,
        free_tier=template.policy.free_tier,
    )
    assert check(load_policy(Settings()), asked) == []
    assert template.policy.free_tier == free


def test_a_student_has_studio_lab_and_small_trainings_and_nothing_else() -> None:
    policy = load_policy(Settings()).model_copy(update={"default_role": "student"})
    lab = Asked(
        "sagemaker_lab", hourly_cost=Decimal(0), free_tier=SHIPPED_TEMPLATES["sagemaker-studio-lab"].policy.free_tier
    )
    assert check(policy, lab) == []
    small = Asked("training", instance_types=("ml.m5.large",), hourly_cost=Decimal("0.12"))
    assert check(policy, small) == []
    for service in SERVICES:
        if service not in ("sagemaker_lab", "training"):
            assert "services" in {one.rule for one in check(policy, Asked(service))}
