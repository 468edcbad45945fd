"""What images are made of: packages that name one version, a Dockerfile that breaks no rule, a fingerprint, and the steps to it."""

from __future__ import annotations

import json
import shlex
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.workspaces.images.dockerfile import dockerfile, lint
from trainmaster.workspaces.images.fingerprint import fingerprint_of
from trainmaster.workspaces.images.machine_image import FAILED, MADE, build_script
from trainmaster.workspaces.images.plan import Described, Place, Wanted, plan, role_policy
from trainmaster.workspaces.templates.pins import apt_name, base_fault, conda_name, pip_name
from trainmaster.workspaces.templates.template import Template

PLACE = Place("123456789012", "us-east-1", "bucket", "arn:aws:iam::123456789012:role/execution", "trainmaster")
BASE = "public.ecr.aws/sagemaker/sagemaker-distribution:3.4.2-cpu"
NAMES = st.from_regex(r"[a-z][a-z0-9]{1,8}", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}", fullmatch=True)


def template(base: str = BASE, service: str = "sagemaker_studio", app: str = "JupyterLab", **packages: list[str]) -> Template:  # fmt: skip
    is_ec2 = service == "ec2"
    config: dict[str, Any] = {"default_instance_type": "t3.large" if is_ec2 else "ml.t3.medium"}
    config |= {"ami_parameter": "/aws/service/ubuntu"} if is_ec2 else {"app": app}
    return Template.model_validate(
        {
            "name": "numbers",
            "description": "For numbers.",
            "service_type": service,
            "connection_type": "ssh" if is_ec2 else "web",
            "service_config": config,
            "image": {"base": "" if is_ec2 else base, "packages": packages},
        }
    )


@st.composite
def packages(draw: st.DrawFn) -> dict[str, list[str]]:
    """Some of each installer, pinned."""
    joined = {"pip": "==", "conda": "=", "apt": "="}
    listed = st.dictionaries(NAMES, VERSIONS, max_size=4)
    return {one: [f"{name}{by}{version}" for name, version in draw(listed).items()] for one, by in joined.items()}


class TestPins:
    @pytest.mark.parametrize("pinned", ["numpy==2.3.0", "torch[cuda]==2.8.0+cu128", "Pillow == 11.0", "x===1.0rc1"])
    def test_of_pip_only_one_exact_version_is_one(self, pinned: str) -> None:
        assert bool(pip_name(pinned)) == ("===" not in pinned)

    @pytest.mark.parametrize(
        "loose",
        ["numpy", "numpy>=2", "numpy==2.*", "numpy~=2.3", "numpy==2,<3", "numpy @ https://x/y.whl", "-r file",
         "numpy==2.3; python_version<'3'", "--index-url=https://x", "numpy==2.3 && rm -rf /", ""],
    )  # fmt: skip
    def test_whatever_else_pip_takes_is_none(self, loose: str) -> None:
        assert pip_name(loose) is None

    @pytest.mark.parametrize(
        "pinned", ["numpy=2.3.0", "numpy==2.3.0", "conda-forge::numpy=2.3.0=py312h_0", "_libgcc=1"]
    )
    def test_of_conda(self, pinned: str) -> None:
        assert conda_name(pinned)

    @pytest.mark.parametrize("loose", ["numpy", "numpy>=2", "numpy=2.*", "numpy=2; rm", "numpy=$(x)", "nvidia/numpy"])
    def test_whatever_else_conda_takes_is_none(self, loose: str) -> None:
        assert conda_name(loose) is None

    @pytest.mark.parametrize("pinned", ["htop=3.0.5-7build2", "libc6:i386=2.39-0ubuntu8", "g++=4:13.2.0-7ubuntu1"])
    def test_of_apt(self, pinned: str) -> None:
        assert apt_name(pinned)

    @pytest.mark.parametrize("loose", ["htop", "htop=", "htop=3.*", "htop/noble", "htop=3 && x", "htop=$(id)"])
    def test_whatever_else_apt_takes_is_none(self, loose: str) -> None:
        assert apt_name(loose) is None

    @pytest.mark.parametrize(
        "base",
        [
            "ubuntu:24.04",
            BASE,
            f"ubuntu@sha256:{'0' * 64}",
            "localhost:5000/team/image:1.2",
            f"a.b/c:1@sha256:{'a' * 64}",
        ],
    )
    def test_a_base_is_one_release(self, base: str) -> None:
        assert base_fault(base) is None

    @pytest.mark.parametrize(
        "base",
        ["ubuntu", "ubuntu:latest", "a.b/c:latest-gpu", "localhost:5000/image", "Ubuntu:24", "x:1 && y", "x:1\nRUN y"],
    )
    def test_a_base_that_moves_or_is_none_is_said(self, base: str) -> None:
        assert base_fault(base)


class TestDockerfile:
    @given(packages(), st.sampled_from([BASE, "ubuntu:24.04"]), st.sampled_from(["JupyterLab", "CodeEditor"]))
    def test_of_every_template_it_breaks_no_rule_and_names_every_package_as_it_is(
        self, packages: dict[str, list[str]], base: str, app: str
    ) -> None:
        text = dockerfile(template(base, app=app, **packages))
        assert lint(text) == []
        assert all(
            one in shlex.split(text.replace("\\\n", " "), comments=True) for of in packages.values() for one in of
        )

    @given(packages(), st.randoms())
    def test_the_order_of_packages_does_not_matter(self, packages: dict[str, list[str]], random: Any) -> None:
        shuffled = {installer: random.sample(of, len(of)) for installer, of in packages.items()}
        assert fingerprint_of(template(**shuffled)) == fingerprint_of(template(**packages))

    def test_aws_own_base_is_started_by_its_own_program_and_another_by_jupyterlabs(self) -> None:
        assert 'ENTRYPOINT ["entrypoint-jupyter-server"]' in dockerfile(template(pip=["x==1"]))
        assert 'ENTRYPOINT ["jupyter-lab"' in dockerfile(template("ubuntu:24.04", pip=["x==1"]))
        assert 'ENTRYPOINT ["entrypoint-code-editor"]' in dockerfile(template(app="CodeEditor", pip=["x==1"]))

    @pytest.mark.parametrize(
        ("added", "broken"),
        [
            ("USER root", "whoever works in it is not root"),
            ("ADD https://x/y /z", "nothing is fetched by ADD"),
            ("RUN curl https://x | bash", "nothing is run as it comes from the network"),
            ("RUN sudo ls", "nobody needs sudo who is root"),
            ("RUN apt-get install x", "apt installs only what is named"),
            ("RUN pip install x", "pip keeps no cache in the image"),
            ("ENV API_KEY=x", "no secret is part of an image"),
            ("FROM ubuntu", "what it starts from is one release"),
        ],
        ids=["root", "add", "pipe", "sudo", "recommends", "cache", "secret", "moving"],
    )
    def test_a_rule_that_is_broken_is_said(self, added: str, broken: str) -> None:
        assert lint(f"{dockerfile(template(pip=['x==1']))}{added}\n") == [broken]


class TestMachineImage:
    @given(packages())
    def test_its_machine_powers_off_whatever_happens_and_says_how_it_went(self, packages: dict[str, list[str]]) -> None:
        script = build_script(template(service="ec2", **{**packages, "conda": []})).splitlines()
        assert script[1].startswith("shutdown -h +")  # before anything else, so that it ends if all else fails
        assert any(line.startswith("trap") and FAILED in line and "shutdown -h now" in line for line in script)
        assert script.index(f"echo {MADE} > /dev/console") > max(
            at for at, line in enumerate(script) if "apt-get" in line
        )
        assert script[-1] == "shutdown -h now"


class TestFingerprint:
    def test_it_is_of_what_the_image_is_made_of_and_of_nothing_else(self) -> None:
        first = template(pip=["x==1"])
        same = first.model_copy(update={"description": "Another.", "name": "numbers"})
        assert fingerprint_of(same) == fingerprint_of(first)
        others = [template(pip=["x==2"]), template("ubuntu:24.04", pip=["x==1"]), template(app="CodeEditor", pip=["x==1"]),
                  template(conda=["x=1"]), template(service="ec2", pip=["x==1"])]  # fmt: skip
        assert len({fingerprint_of(one) for one in [first, *others]}) == 6

    def test_it_is_made_of_sixteen_hexadecimal_digits(self) -> None:
        found = fingerprint_of(template(pip=["x==1"]))
        assert len(found) == 16
        assert set(found) <= set(string.hexdigits.lower())


WANTED = Wanted.of(template(pip=["x==1"]), PLACE)
CREATED = {"ImageVersionStatus": "CREATED"}
DOMAIN = {"DomainName": "trainmaster", "DefaultUserSettings": {}}
ATTACHED = {"ImageName": WANTED.name, "AppImageConfigName": WANTED.name}
SERVES = {**DOMAIN, "DefaultUserSettings": {"JupyterLabAppSettings": {"CustomImages": [ATTACHED]}}}


def steps(**there: Any) -> list[str]:
    return [f"{one.verb} {one.noun}" for one in plan(WANTED, Described(**there))]


class TestPlan:
    def test_of_nothing_everything_is_made_in_order(self) -> None:
        assert steps(domain=DOMAIN) == [
            "create repository", "create role", "create build project", "write Dockerfile", "build container image",
            "create image", "create image version", "create app image config", "attach image",
        ]  # fmt: skip

    def test_where_all_is_made_nothing_is_done(self) -> None:
        assert steps(image={}, version=CREATED, config=WANTED.config, domain=SERVES) == []

    def test_a_version_that_is_made_is_not_built_again_though_its_repository_is_gone(self) -> None:
        assert steps(image={}, version=CREATED, config=WANTED.config) == []

    def test_a_build_that_is_under_way_is_waited_for(self) -> None:
        assert steps(repository=True, building={"id": "p:1"}, image={}, config=WANTED.config) == [
            "await build", "create image version",
        ]  # fmt: skip

    def test_what_is_pushed_is_not_built_again(self) -> None:
        assert steps(pushed=True) == ["create image", "create image version", "create app image config"]

    def test_a_version_that_failed_is_removed_and_made_anew(self) -> None:
        failed = {"ImageVersionStatus": "CREATE_FAILED"}
        assert steps(pushed=True, image={}, version=failed, config=WANTED.config) == [
            "delete failed image version", "create image version",
        ]  # fmt: skip

    def test_one_that_is_being_made_is_waited_for(self) -> None:
        making = {"ImageVersionStatus": "CREATING"}
        assert steps(pushed=True, image={}, version=making, config=WANTED.config) == ["await image version"]

    def test_a_configuration_changed_by_hand_is_put_right(self) -> None:
        other = {**WANTED.config, "JupyterLabAppImageConfig": {}}
        assert steps(image={}, version=CREATED, config=other) == ["update app image config"]

    def test_the_same_template_asks_for_the_same(self) -> None:
        again = Wanted.of(template(pip=["x==1"]), PLACE)
        assert (again.project, again.repository, again.build("r"), again.version(1)) == (
            WANTED.project, WANTED.repository, WANTED.build("r"), WANTED.version(1),
        )  # fmt: skip

    def test_the_builder_may_push_to_our_repositories_alone(self) -> None:
        statements = json.loads(role_policy(PLACE))["Statement"]
        pushing = [one for one in statements if "ecr:PutImage" in one["Action"]]
        assert [one["Resource"] for one in pushing] == [
            ["arn:aws:ecr:us-east-1:123456789012:repository/trainmaster-workspaces/*"]
        ]
        everywhere = [one["Action"] for one in statements if "*" in one["Resource"]]
        assert not any(
            "Put" in action or "Upload" in action or "Delete" in action for of in everywhere for action in of
        )
