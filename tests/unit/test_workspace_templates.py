"""Templates of workspaces: read from YAML, one laid over another, and all that is wrong said with file, line and key."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from trainmaster.budget.prices import shipped_prices
from trainmaster.errors import NotConfiguredError, TemplatesRefusedError, UnknownChoiceError
from trainmaster.settings import Settings
from trainmaster.workspaces.images.dockerfile import dockerfile, lint
from trainmaster.workspaces.rates import rates_of
from trainmaster.workspaces.templates.loading import find_template, load_templates, read_templates
from trainmaster.workspaces.templates.template import Template

SHIPPED = load_templates(Settings().workspace_templates)
STUDIO = """\
name: studio
description: A notebook.
service_type: sagemaker_studio
connection_type: web
service_config:
  default_instance_type: ml.t3.medium
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes templates by their names, and returns their folder."""

    def written(**texts: str) -> Path:
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path

    return written


def problems(folder: Path) -> list[str]:
    return [one.sentence() for one in read_templates(folder).all_problems]


class TestShipped:
    def test_there_is_one_for_every_service_and_each_is_right(self) -> None:
        assert set(SHIPPED) == {
            "custom-pytorch", "python-ml", "sagemaker-canvas", "sagemaker-studio", "sagemaker-studio-gpu", "sagemaker-studio-lab",
            "ubuntu-desktop",
        }  # fmt: skip
        assert {one.service_type for one in SHIPPED.values()} == {
            "ec2", "sagemaker_studio", "sagemaker_canvas", "sagemaker_lab",
        }  # fmt: skip

    @pytest.mark.parametrize("name", sorted(SHIPPED))
    def test_each_is_estimated_at_what_the_price_list_says(self, name: str) -> None:
        template = SHIPPED[name]
        running = rates_of(shipped_prices(), template, "us-east-1").running
        assert template.estimated_cost.per_hour == running

    @pytest.mark.parametrize("name", sorted(SHIPPED))
    def test_each_costs_less_than_its_own_limit_and_stops_when_it_is_idle_unless_it_is_free(self, name: str) -> None:
        template = SHIPPED[name]
        if not template.policy.free_tier:
            assert rates_of(shipped_prices(), template, "us-east-1").total < (
                template.service_config.max_hourly_cost or 0
            )
            assert template.service_config.auto_stop_minutes

    @pytest.mark.parametrize("name", sorted(SHIPPED))
    def test_each_is_the_same_once_it_was_written_down_and_read(self, name: str) -> None:
        assert Template.model_validate_json(SHIPPED[name].model_dump_json()) == SHIPPED[name]

    def test_the_compiled_one_comes_to_a_dockerfile_that_breaks_no_rule(self) -> None:
        assert lint(dockerfile(SHIPPED["custom-pytorch"])) == []


class TestExtending:
    def test_what_is_said_is_laid_over_what_is_extended_key_by_key(self, write: Write) -> None:
        child = "extends: studio\nservice_config:\n  volume_gb: 50\nestimated_cost:\n  per_hour: 0.05\n"
        child_of_it = "extends: child\ndescription: Another.\nservice_config:\n  allowed_instance_types: [ml.t3.*]\n"
        found = load_templates(write(studio=STUDIO, child=child, grandchild=child_of_it))
        grandchild = found["grandchild"]
        assert (grandchild.name, grandchild.description) == ("grandchild", "Another.")
        assert grandchild.service_config.default_instance_type == "ml.t3.medium"
        assert grandchild.service_config.volume_gb == 50
        assert grandchild.estimated_cost.per_hour == Decimal("0.05")
        assert grandchild.allows("ml.t3.large")
        assert not found["child"].allows("ml.t3.large")

    def test_a_list_is_taken_as_a_whole(self, write: Write) -> None:
        base = STUDIO + "  allowed_instance_types: [ml.t3.*, ml.m5.*]\n"
        child = "extends: studio\nservice_config:\n  allowed_instance_types: [ml.t3.medium]\n"
        assert not load_templates(write(studio=base, child=child))["child"].allows("ml.m5.large")

    def test_a_circle_is_refused_by_all_that_are_in_it(self, write: Write) -> None:
        folder = write(one="extends: two\n", two="extends: three\n", three="extends: two\n")
        assert {one.partition(": ")[2] for one in problems(folder)} == {
            "it would extend itself: one → two → three → two",
            "it would extend itself: two → three → two",
            "it would extend itself: three → two → three",
        }
        assert set(read_templates(folder).problems) == {"one", "two", "three"}

    def test_what_is_not_there_cannot_be_extended(self, write: Write) -> None:
        assert problems(write(studio=STUDIO, child="# a comment\nextends: stdio\n")) == [
            "child.yaml, line 2, extends: there is no template stdio to extend; there is studio"
        ]

    def test_what_is_wrong_in_the_extended_is_said_of_its_own_line(self, write: Write) -> None:
        base = STUDIO.replace("ml.t3.medium", "t3.medium")
        folder = write(studio=base, child="extends: studio\ndescription: Another.\n")
        [problem] = problems(folder)
        assert problem.startswith("studio.yaml, line 6, service_config.default_instance_type: t3.medium is none of")
        assert set(read_templates(folder).problems) == {"studio", "child"}


class TestProblems:
    def test_all_of_all_files_are_said_at_once_with_file_line_and_key(self, write: Write) -> None:
        first = STUDIO.replace("connection_type: web", "connection_tipe: web") + "  volume_gb: 3\n"
        second = STUDIO.replace("name: studio", "name: other") + "  volume_gb: many\nservice_type: ec2\n"
        with pytest.raises(TemplatesRefusedError) as refused:
            load_templates(write(first=first.replace("name: studio", "name: first"), second=second))
        said = [one.sentence() for one in refused.value.problems]
        assert [one.partition(": ")[0] for one in said] == [
            "first.yaml, line 1, connection_type",
            "first.yaml, line 4, connection_tipe",
            "first.yaml, line 7, service_config.volume_gb",
            "second.yaml, line 8, service_type",
        ]
        assert "did you mean connection_type?" in said[1]
        assert all(one in str(refused.value) for one in said)

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("image: {base: 'x:1.0', packages: {pip: [torch]}}", "image.packages.pip[1]: 'torch' names no one version"),
            ("image: {base: 'x:latest'}", "image.base: 'x:latest' is another image tomorrow"),
            ("image: {packages: {}}", "image.base: Name the image it starts from"),
            ("policy: {tags: {'aws:mine': x}}", "policy.tags.aws:mine: Tags that begin so"),
            ("policy: {data_classification: Top Secret}", "policy.data_classification: Top Secret cannot be taken"),
            ("estimated_cost: {per_hour: -1}", "estimated_cost.per_hour: -1 cannot be taken"),
            ("estimated_cost: {per_hr: 1}", "estimated_cost.per_hr: there is no such key; did you mean per_hour?"),
        ],
        ids=["unpinned", "latest", "no-base", "aws-tag", "classification", "negative", "unknown-key"],
    )
    def test_each_is_said_of_its_key(self, write: Write, line: str, said: str) -> None:
        [problem] = problems(write(studio=f"{STUDIO}{line}\n"))
        assert problem.startswith(f"studio.yaml, line 7, {said}"), problem

    @pytest.mark.parametrize(
        ("changed", "to", "said"),
        [
            ("connection_type: web", "connection_type: ssh", "connection_type: ssh is no way into sagemaker_studio"),
            ("  default_instance_type: ml.t3.medium", "  runtime: CPU", "service_config.default_instance_type: sagemaker_studio needs one"),
            ("ml.t3.medium", "ml.t3.medium\n  project_url: https://github.com/a/b", "service_config.project_url: sagemaker_studio has no use"),
            ("ml.t3.medium", "ml.t3.medium\n  allowed_instance_types: [ml.g5.*]", "service_config.default_instance_type: ml.t3.medium is none of those allowed"),
            ("sagemaker_studio", "ec2", "connection_type: web is no way into ec2"),
            ("sagemaker_studio", "sagemaker_lab", "service_config.project_url: Studio Lab is opened by the address"),
        ],
        ids=["ssh-into-studio", "no-instance-type", "of-another-service", "default-not-allowed", "web-into-ec2", "lab"],
    )  # fmt: skip
    def test_what_does_not_fit_together_is_said(self, write: Write, changed: str, to: str, said: str) -> None:
        found = problems(write(studio=STUDIO.replace(changed, to)))
        assert any(said in one for one in found), found

    @pytest.mark.parametrize(
        ("text", "line"),
        [("name: [", 1), ("- a\n- b\n", 1), ("name: x\nname: y\n", 2), ("a: &b c\nd: *b\n", 1), ("name:\n", 1)],
        ids=["not-yaml", "a-list", "twice", "alias", "empty"],
    )
    def test_what_is_no_template_at_all_is_said_of_its_line(self, write: Write, text: str, line: int) -> None:
        [problem, *_] = problems(write(studio=text))
        assert problem.startswith(f"studio.yaml, line {line}")

    def test_what_is_no_text_is_said_too(self, tmp_path: Path) -> None:
        (tmp_path / "binary.yaml").write_bytes(b"name: x\n\xff\xfe")
        (tmp_path / "large.yaml").write_bytes(b"#" * 300_000)
        assert problems(tmp_path) == [
            "binary.yaml, line 2: it is no UTF-8",
            "large.yaml, line 1: it has more than 256 KB; a template has a few",
        ]


class TestFinding:
    def test_one_that_is_right_is_found_though_another_is_not(self, write: Write) -> None:
        settings = Settings(workspace_templates=write(studio=STUDIO, broken="name: broken\n"))
        assert find_template(settings, "studio").name == "studio"
        with pytest.raises(TemplatesRefusedError, match=r"broken\.yaml, line 1, description"):
            find_template(settings, "broken")

    def test_one_there_is_not_is_refused_with_those_there_are(self, write: Write) -> None:
        settings = Settings(workspace_templates=write(studio=STUDIO))
        with pytest.raises(UnknownChoiceError, match="Did you mean studio"):
            find_template(settings, "stdio")

    def test_a_folder_that_is_not_there_is_said_to_be_absent(self, tmp_path: Path) -> None:
        with pytest.raises(NotConfiguredError, match="There is no folder"):
            find_template(Settings(workspace_templates=tmp_path / "none"), "studio")
