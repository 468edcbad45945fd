"""From a request to a plan: datasets exact, everything wrong said at once, money as it was reserved, nothing launched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from library_shelves import S3, SUPABASE
from training_configs import Bench, bench_at

from trainmaster.budget.prices import PriceList, shipped_prices
from trainmaster.catalog.configs import Configs
from trainmaster.errors import TrainingRefusedError
from trainmaster.training.desk import Desk
from trainmaster.training.launching import deployment_of, launch_training
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.preparing import migrate_missing, prepare_training
from trainmaster.training.problems import Problem

OWN = {"image_uri": "image:1", "entry_point": "train.py", "checkpoints": True}


@pytest.fixture
def bench(embedded: Any, tmp_path: Path) -> Iterator[Bench]:
    with bench_at(tmp_path, embedded.environment) as bench:
        yield bench


@pytest.fixture
def warm_pools(embedded: Any) -> Iterator[None]:
    """AWS allows an account none at first."""
    embedded.control("POST", "quotas", {"quota": "ml.m5.large for training warm pool usage", "value": 10})
    yield
    embedded.control("DELETE", "quotas")


def refused(bench: Bench, **asked: Any) -> tuple[Problem, ...]:
    with pytest.raises(TrainingRefusedError) as error:
        prepare_training(bench.desk, bench.request(**{"config_id": "", **asked}))
    return error.value.problems


def read_manifest(bench: Bench, plan: TrainingPlan, number: int) -> Any:
    uri = plan.create_request["InputDataConfig"][number]["DataSource"]["S3DataSource"]["S3Uri"]
    key = uri.removeprefix(f"s3://{bench.bucket}/")
    return json.loads(bench.desk.client("s3").get_object(Bucket=bench.bucket, Key=key)["Body"].read())


class TestChannels:
    def test_each_dataset_is_the_exact_object_its_copy_is(self, bench: Bench, jobs: Any) -> None:
        given = bench.dataset("cats")
        [copy] = bench.desk.catalogue.datasets.get(given, bench.user_id).copies  # type: ignore[union-attr]
        plan = prepare_training(bench.desk, bench.request(bench.config({"trainer": bench.program("")}, [given])))
        folder, _, file = copy.path.rpartition("/")
        assert read_manifest(bench, plan, 0) == [{"prefix": f"s3://{copy.bucket}/{folder}/"}, file]
        # What is put beside it later, and begins like it, is read by no job of this plan.
        bench.desk.client("s3").put_object(Bucket=copy.bucket, Key=f"{copy.path}.old", Body=b"stale")
        name = f"exact-{uuid4().hex[:8]}"
        channels = plan.create_request["InputDataConfig"]
        jobs.create(
            "sh", "-c", "ls /opt/ml/input/data/training; touch /opt/ml/model/m", InputDataConfig=channels, name=name
        )
        [job] = bench.desk.client("sagemaker").list_training_jobs(NameContains=name)["TrainingJobSummaries"]
        jobs.finished(job["TrainingJobName"])
        assert jobs.lines(job["TrainingJobName"]) == [file]

    def test_roles_of_the_config_become_channels(self, bench: Bench) -> None:
        ours = [bench.dataset("cats"), bench.dataset("dogs"), bench.dataset("birds")]
        config = {"trainer": bench.program(""), "dataset_roles": {str(ours[0]): "validation"}}
        plan = prepare_training(bench.desk, bench.request(bench.config(config, ours)))
        assert [each["ChannelName"] for each in plan.create_request["InputDataConfig"]] == [
            "validation", "training", "training-2",
        ]  # fmt: skip
        files = [read_manifest(bench, plan, number)[1] for number in range(3)]
        assert files == [f"{dataset}.jsonl.gz" for dataset in ours]

    def test_an_object_that_is_gone_or_another_is_a_problem_before_anything_is_paid_for(self, bench: Bench) -> None:
        gone, other = bench.dataset("cats"), bench.dataset("dogs")
        paths = [bench.desk.catalogue.datasets.get(each, bench.user_id).copies[0].path for each in (gone, other)]  # type: ignore[union-attr]
        s3 = bench.desk.client("s3")
        s3.delete_object(Bucket=bench.bucket, Key=paths[0])
        s3.put_object(Bucket=bench.bucket, Key=paths[1], Body=b"x")
        said = [
            each.message
            for each in refused(bench, config_id=bench.config({"trainer": bench.program("")}, [gone, other]))
        ]
        assert len(said) == 2
        assert f"Dataset {gone} ('chats about cats') is catalogued at" in said[0]
        assert f"Dataset {other} ('chats about dogs') has 1 bytes at" in said[1]

    def test_a_copy_that_was_found_damaged_is_not_trained_on_and_it_is_said_how_to_mend_it(self, bench: Bench) -> None:
        rotten, sound = bench.dataset("cats"), bench.dataset("dogs")
        row = bench.desk.catalogue.datasets.get(rotten, bench.user_id)
        assert row
        migrations = bench.desk.catalogue.migrations
        migrations.hindered([(rotten, "damaged", "Another SHA-256.", "Mend it.", row.updated_at)])
        config = bench.config({"trainer": bench.program("")}, [rotten, sound])
        [problem] = refused(bench, config_id=config)
        assert problem.message.startswith(f"The copy in S3 of Dataset {rotten} ('chats about cats') is damaged")
        assert f"migrate rollback --dataset {rotten}`, then" in problem.remedy
        assert "upload the same file again" in problem.remedy
        migrations.remedied(rotten, S3, migrations.now())
        assert len(prepare_training(bench.desk, bench.request(config)).create_request["InputDataConfig"]) == 2


class TestRefusals:
    def test_what_is_another_users_is_neither_trained_on_nor_run_nor_written_over(self, bench: Bench) -> None:
        other, theirs = uuid4(), f"theirs-{uuid4().hex[:8]}-1"
        source = f"s3://{bench.bucket}/{other}/programs/sourcedir.tar.gz"
        checkpoints = f"s3://{bench.bucket}/trainmaster/theirs/jobs/{theirs}/checkpoints"
        config_id = bench.config({"trainer": {**OWN, "source_uri": source}}, [bench.dataset("cats")])
        problems = refused(bench, config_id=config_id, checkpoint_s3_uri=checkpoints)
        assert [(one.kind, one.message) for one in problems] == [
            ("request", f"checkpoint_s3_uri is {checkpoints}, where Trainmaster keeps what other jobs need and leave."),
            ("config", f"source_uri is {source}, where datasets of other users are kept."),
        ]
        everybodys = refused(bench, data_uri=f"s3://{bench.bucket}/", checkpoint_s3_uri=f"s3://{bench.bucket}")
        assert [one.kind for one in everybodys] == ["request", "datasets"]

    def test_checkpoints_of_an_own_job_are_gone_on_from_by_another(self, bench: Bench) -> None:
        config_id = bench.config({"trainer": bench.program("")}, [bench.dataset("cats")])
        first = prepare_training(bench.desk, bench.request(config_id))
        kept = first.create_request["CheckpointConfig"]["S3Uri"]
        [theirs] = refused(bench, config_id=config_id, checkpoint_s3_uri=kept)
        assert theirs.kind == "request"
        bench.desk.deployments.begin(deployment_of(first, ""))
        second = prepare_training(bench.desk, bench.request(config_id, checkpoint_s3_uri=kept))
        assert second.create_request["CheckpointConfig"]["S3Uri"] == kept
        assert second.job_name != first.job_name

    def test_all_that_is_wrong_from_both_sides_is_said_at_once(self, bench: Bench) -> None:
        elsewhere = bench.dataset("cats", SUPABASE)
        config = {
            "trainer": {**OWN, "source_uri": f"s3://{bench.bucket}/nothing/sourcedir.tar.gz", "most_instances": 1},
            "hub_token": "hunter2hunter2",
            "prompt": "x" * 3000,
        }
        problems = refused(
            bench,
            config_id=bench.config(config, [elsewhere]),
            instance_type="ml.m5.lagre",
            instance_count=2,
            max_runtime_seconds=7200,
            max_wait_seconds=60,
            subnets=["subnet-1"],
            environment={"1A": "x", "API_KEY": "hunter2hunter2"},
            tags={"aws:x": "y"},
        )
        kinds = [problem.kind for problem in problems]
        assert {
            "instance_type",
            "spot",
            "network",
            "hyperparameters",
            "secret",
            "datasets",
            "config",
            "request",
        } <= set(kinds)
        assert kinds.count("secret") == 2
        assert "hunter2" not in " ".join(problem.sentence() for problem in problems)
        assert str(elsewhere) in next(problem.message for problem in problems if problem.kind == "datasets")

    def test_a_fine_tuning_is_told_all_that_its_trainer_would_say_of_its_hyperparameters(self, bench: Bench) -> None:
        config = {"training_method": "dpo", "epochs": 3, "packing": True, "model_name": "me/mine", "lora_r": 8}
        config_id = bench.config(config, [bench.dataset("cats")])
        problems = refused(bench, config_id=config_id, hyperparameters={"lora_r": "0"})
        told = [problem.message for problem in problems if problem.kind == "hyperparameters"]
        assert [message.split()[1] for message in told] == ["'epochs'", "lora_r", "packing"]

    def test_a_fine_tuning_is_told_of_datasets_its_method_cannot_learn_from(self, bench: Bench) -> None:
        cats = bench.dataset("cats")
        config_id = bench.config({"training_method": "dpo", "model_name": "me/mine"}, [cats])
        [problem] = [one for one in refused(bench, config_id=config_id) if one.kind == "datasets"]
        assert problem.message.startswith(
            f"Dataset {cats} ('chats about cats') is chatml, and training_method dpo learns from: dpo;"
        )
        assert "training_method sft learns from conversations" in problem.message

    def test_a_config_of_another_user_is_an_unknown_one(self, bench: Bench) -> None:
        theirs = bench.config({"trainer": "house-prices"}, [bench.dataset("cats")], user_id=uuid4())
        asked = [refused(bench, config_id=theirs), refused(bench, config_id=str(uuid4()))]
        assert [[problem.kind for problem in problems] for problems in asked] == [["config"], ["config"]]
        assert asked[0][0].message.replace(theirs, "") == asked[1][0].message.replace(
            asked[1][0].message.split()[5], ""
        )

    def test_a_dataset_of_another_user_is_never_trained_on(self, bench: Bench) -> None:
        theirs = bench.dataset("cats")
        stranger = uuid4()
        config_id = bench.config({"trainer": bench.program("")}, [theirs], user_id=stranger)
        problems = refused(bench, config_id=config_id, user_id=str(stranger))
        assert [problem.kind for problem in problems] == ["datasets", "datasets"]
        assert "names 1 datasets that are not of user" in problems[1].message
        assert str(theirs) not in " ".join(problem.sentence() for problem in problems)
        config = Configs(bench.desk.catalogue.database).get(UUID(config_id), stranger)
        assert config
        assert (config.datasets, config.others) == ([], 1)

    @pytest.mark.parametrize("data_uri", ["", "s3://bucket-1/data/"])
    def test_a_config_or_data_not_both_and_not_neither(self, bench: Bench, data_uri: str) -> None:
        config_id = bench.config({"trainer": bench.program("")}, [bench.dataset("cats")]) if data_uri else ""
        assert "request" in [problem.kind for problem in refused(bench, config_id=config_id, data_uri=data_uri)]

    def test_a_region_without_our_container_is_a_problem(self, bench: Bench) -> None:
        bench.desk.client("s3").put_object(Bucket=bench.bucket, Key="regions/houses.csv", Body=b"x")
        problems = refused(bench, data_uri=f"s3://{bench.bucket}/regions/", region="xx-nowhere-1")
        assert "AWS has no scikit-learn container in region 'xx-nowhere-1'." in [
            problem.message for problem in problems
        ]

    @pytest.mark.parametrize("data_uri", ["s3://no-such-bucket-at-all/x/", "s3://BUCKET/nothing-here/", "s3://BUCKET"])
    def test_a_table_that_is_not_there_is_a_problem(self, bench: Bench, data_uri: str) -> None:
        problems = refused(bench, data_uri=data_uri.replace("BUCKET", bench.bucket))
        assert [problem.kind for problem in problems] == ["datasets"]

    def test_house_prices_train_on_one_instance(self, bench: Bench) -> None:
        bench.desk.client("s3").put_object(Bucket=bench.bucket, Key="one/houses.csv", Body=b"x")
        [problem] = refused(bench, data_uri=f"s3://{bench.bucket}/one/", instance_count=2)
        assert "house-prices trains on at most 1; 2 instances are asked for." in problem.message

    def test_house_prices_may_be_trained_where_there_are_gpus(self, bench: Bench) -> None:
        bench.desk.client("s3").put_object(Bucket=bench.bucket, Key="gpu/houses.csv", Body=b"x")
        request = bench.request("", data_uri=f"s3://{bench.bucket}/gpu/", instance_type="ml.g5.xlarge")
        plan = prepare_training(bench.desk, request)
        assert "scikit-learn" in plan.create_request["AlgorithmSpecification"]["TrainingImage"]
        assert plan.create_request["InputDataConfig"][0]["ContentType"] == "text/csv"


class TestNames:
    def test_the_name_follows_from_what_is_asked_and_from_what_is_read(self, bench: Bench) -> None:
        ours, program = [bench.dataset("cats"), bench.dataset("dogs")], bench.program("print(1)")
        config = {"trainer": program, "a": 1, "b": {"c": 1, "d": 2}}
        one = bench.config(config, ours, name="Ünïcode & co: fine")
        name = prepare_training(bench.desk, bench.request(one, environment={"A": "1", "B": "2"})).job_name
        assert name.startswith("Unicode-co-fine-")
        assert prepare_training(bench.desk, bench.request(one, environment={"B": "2", "A": "1"})).job_name == name
        assert (
            prepare_training(bench.desk, bench.request(one.upper(), environment={"B": "2", "A": "1"})).job_name == name
        )
        before = prepare_training(bench.desk, bench.request(one))
        key = program["source_uri"].removeprefix(f"s3://{bench.bucket}/")
        bench.desk.client("s3").put_object(Bucket=bench.bucket, Key=key, Body=b"another program")
        assert prepare_training(bench.desk, bench.request(one)).job_name != before.job_name

    @pytest.mark.usefixtures("warm_pools")
    def test_a_plan_is_repeated_at_the_price_it_was_reserved_at(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = bench.config({"trainer": bench.program("")}, [bench.dataset("cats")])
        request = bench.request(config, use_spot_instances=False, warm_pool_seconds=60, budget_limit="0.03")
        first = prepare_training(bench.desk, request)
        bench.desk.ledger.reserve(first.charge)
        dearer = PriceList([replace(price, usd=price.usd * 3) for price in shipped_prices()])
        monkeypatch.setattr(Desk, "prices", dearer)
        again = prepare_training(bench.desk, request)
        assert (again.job_name, again.charge.amount) == (first.job_name, first.charge.amount)
        assert again.create_request == first.create_request
        assert launch_training(bench.desk, again) == "created"
        reservation = bench.desk.ledger.find(first.job_name)
        assert reservation
        assert reservation.charge.hourly == first.charge.hourly
        # A new job is priced anew; this budget then pays for nothing useful.
        asked = request.model_dump(mode="json", exclude={"training_config_id"}) | {"attempt": 2}
        assert [problem.kind for problem in refused(bench, config_id=config, **asked)] == ["budget"]


class TestEverything:
    @pytest.mark.usefixtures("warm_pools")
    def test_a_job_with_all_there_is_to_ask_for_is_accepted_and_described(self, bench: Bench, jobs: Any) -> None:
        ec2, kms = bench.desk.client("ec2"), bench.desk.client("kms")
        key = kms.create_key()["KeyMetadata"]["Arn"]
        subnet = ec2.describe_subnets()["Subnets"][0]
        [group, *_] = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [subnet["VpcId"]]}])[
            "SecurityGroups"
        ]
        config = {
            "trainer": {**bench.program("open('/opt/ml/model/m', 'w').close()"), "metrics": {"loss": "loss=(.*)"}},
            "epochs": 1,
        }
        request = bench.request(
            bench.config(config, [bench.dataset("cats")], name="everything"),
            use_spot_instances=False, checkpoint_s3_uri=f"s3://{bench.bucket}/kept/", enable_profiler=True,
            enable_tensorboard=True, warm_pool_seconds=60, environment={"A": "1"}, tags={"team": "vision"},
            experiment="everything-at-once", region=bench.desk.settings.region, subnets=[subnet["SubnetId"]],
            security_groups=[group["GroupId"]], volume_kms_key=key, output_kms_key=key,
            network_isolation=True, volume_size_gb=7, hyperparameters={"epochs": 2},
        )  # fmt: skip
        plan = prepare_training(bench.desk, request)
        assert launch_training(bench.desk, plan) == "created"
        job = jobs.finished(plan.job_name)
        assert job["TrainingJobStatus"] == "Completed", jobs.lines(plan.job_name)
        told = {**plan.create_request}
        tags = told.pop("Tags")
        assert {name: _described(job, name, value) for name, value in told.items()} == told
        listed = bench.desk.client("sagemaker").list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
        assert sorted(listed, key=str) == sorted(tags, key=str)
        trial = bench.desk.client("sagemaker").describe_trial(TrialName=plan.job_name)
        assert trial["ExperimentName"] == "everything-at-once"


def _described(job: dict[str, Any], name: str, value: Any) -> Any:
    """What Describe says of a member, reduced to what was asked."""
    found = job.get(name)
    return {key: found.get(key) for key in value} if isinstance(value, dict) and isinstance(found, dict) else found


class TestMigratingMissing:
    def test_datasets_that_are_missing_are_copied_first_and_then_trained_on(self, bench: Bench) -> None:
        there, missing = bench.dataset("cats", S3), bench.dataset("dogs", SUPABASE)
        config = bench.config({"trainer": bench.program("")}, [there, missing])
        request = bench.request(config, migrate_missing=True)
        rehearsed = prepare_training(bench.desk, request.model_copy(update={"dry_run": True}))
        assert "'chats about dogs'" in " ".join(rehearsed.notes)
        assert migrate_missing(bench.desk, request.model_copy(update={"dry_run": True})) == []
        assert [dataset.id for dataset in migrate_missing(bench.desk, request)] == [missing]
        assert migrate_missing(bench.desk, request) == []
        plan = prepare_training(bench.desk, request)
        # Its SHA-256 was known from the copy in Supabase: the rehearsal named the very job.
        assert (plan.job_name, plan.create_request) == (rehearsed.job_name, rehearsed.create_request)
        row = bench.desk.catalogue.datasets.get(missing, bench.user_id)
        assert row
        assert row.storage_provider == "supabase"
        assert bench.shelves.content(S3, row.copy_at("s3").path) == bench.shelves.content(SUPABASE, row.storage_path)  # type: ignore[union-attr]

    def test_nothing_is_copied_unless_it_is_asked_for(self, bench: Bench) -> None:
        config = bench.config({"trainer": bench.program("")}, [bench.dataset("dogs", SUPABASE)])
        assert migrate_missing(bench.desk, bench.request(config)) == []
        [problem] = refused(bench, config_id=config)
        assert "set migrate_missing" in problem.remedy
