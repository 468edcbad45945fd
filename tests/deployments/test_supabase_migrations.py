"""The migrations, on a real PostgreSQL, from the tables as the application had them: there, back, and twice either way."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres import SUPABASE, Postgres, migrations, run, ways_back
from psycopg import sql
from sqlalchemy import CheckConstraint, create_engine, inspect
from sqlalchemy.dialects import postgresql

from trainmaster.catalog.tables import PLATFORMS, metadata

VERIFY = (SUPABASE / "verify.sql").read_text()
RETIRE = "20261121090300_retire_lambda.sql"
AWKWARD_CONFIGS = [
    None,
    "null",
    "0",
    "1.50",
    "-1e400",
    '"lambda"',
    "true",
    "[]",
    '[{"platform": "lambda"}, null]',
    "{}",
    '{"gpu": "a100", "nested": {"retired_platform": [1, {"deep": null}]}, "platform": "lambda-labs"}',
    '{"retired_platform": "mine, not theirs"}',
    '{"retired_platform": null, "other": 1}',
    """{"quo'te": "it's \\"quoted\\" $$ \\\\ %s :name", "": "empty key", "ключ": "…"}""",
]

Run = Callable[[str, str], None]


def run_as_pipeline(url: str, script: str) -> None:
    """As Supabase's command line does: every statement by itself, in one pipeline, which is one transaction without a BEGIN."""
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("--"))
    bodies = re.split(r"(\$\$.*?\$\$)", code, flags=re.DOTALL)
    marked = "".join(part.replace(";", "\0") if n % 2 == 0 else part for n, part in enumerate(bodies))
    with psycopg.connect(url, autocommit=True) as connection, connection.pipeline():
        for statement in marked.split("\0"):
            if statement.strip():
                connection.execute(statement.strip(), prepare=False)


@pytest.fixture(params=[run, run_as_pipeline], ids=["one query", "pipeline"])
def apply(request: pytest.FixtureRequest) -> Run:
    return request.param


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    made = postgres.before()
    yield made
    postgres.drop(made)


def up(url: str, apply: Run = run) -> None:
    for file in migrations():
        apply(url, file.read_text())


def down(url: str, apply: Run = run) -> None:
    for file in ways_back():
        apply(url, file.read_text())


def way_back(of: str) -> str:
    return next(file for file in ways_back() if file.stem.endswith(f"_{of}")).read_text()


def retire(url: str) -> None:
    run(url, (SUPABASE / "migrations" / RETIRE).read_text())


def unretire(url: str) -> None:
    run(url, (SUPABASE / "down" / RETIRE).read_text())


def ask(url: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def deployments(url: str) -> list[tuple[Any, ...]]:
    """The whole table, every value as PostgreSQL writes it."""
    return ask(url, "select d.id, d::text from public.cloud_deployments d order by d.id")


def schema(url: str) -> list[tuple[Any, ...]]:
    """Every column, constraint, index, policy switch and grant of the schema public."""
    return ask(
        url,
        """
        select 'column', table_name, column_name, data_type, is_nullable, column_default
          from information_schema.columns where table_schema = 'public'
        union all
        select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated::text, null
          from pg_constraint where connamespace = 'public'::regnamespace
        union all
        select 'index', tablename, indexname, indexdef, null, null from pg_indexes where schemaname = 'public'
        union all
        select 'table', oid::regclass::text, relrowsecurity::text, relacl::text, null, null
          from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
        order by 1, 2, 3, 4
        """,
    )


def deploy(url: str, platform: str, config: str | None = None) -> uuid.UUID:
    query = """insert into public.cloud_deployments (user_id, platform, status, config, estimated_cost, checkpoint_urls, logs)
               values (gen_random_uuid(), %s, 'running', %s, 1.10, '{a,"b c"}', 'it''s') returning id"""
    return ask(url, query, platform, config)[0][0]


def deploy_awkward_ones(url: str) -> None:
    for config in AWKWARD_CONFIGS:
        for platform in ("lambda", "lambda-labs", "sagemaker", "runpod"):
            deploy(url, platform, config)
    ask(
        url,
        """insert into public.cloud_deployments (user_id, platform, status, config)
           select gen_random_uuid(), (array['lambda', 'lambda-labs', 'sagemaker', 'kaggle'])[1 + n %% 4], 'completed',
                  jsonb_build_object('n', n, 'text', repeat('x', n))
           from generate_series(1, 800) n where %s""",
        True,
    )


def test_every_migration_has_a_name_supabase_takes_and_a_way_back() -> None:
    names = [file.name for file in migrations()]
    assert names
    assert all(re.fullmatch(r"\d{14}_[a-z_]+\.sql", name) for name in names)
    assert sorted(names, reverse=True) == [file.name for file in ways_back()]


def test_what_is_applied_is_what_the_catalogue_expects(postgres: Postgres) -> None:
    made = postgres.migrated()
    engine = create_engine(made.replace("postgresql://", "postgresql+psycopg://"))
    dialect = postgresql.dialect()
    with engine.connect() as connection:
        there = inspect(connection)
        for table in metadata.sorted_tables:
            found = {one["name"]: one for one in there.get_columns(table.name)}
            assert {name: (one["type"].compile(dialect), one["nullable"]) for name, one in found.items()} == {
                column.name: (column.type.compile(dialect), column.nullable) for column in table.columns
            }, table.name
            assert there.get_pk_constraint(table.name)["constrained_columns"] == list(table.primary_key.columns.keys())
            checks = {one["name"]: literals(one["sqltext"]) for one in there.get_check_constraints(table.name)}
            assert checks == {
                one.name: literals(str(one.sqltext)) for one in table.constraints if isinstance(one, CheckConstraint)
            }
            indexes = {one["name"] for one in there.get_indexes(table.name)}
            assert {index.name for index in table.indexes} <= indexes
    engine.dispose()
    postgres.drop(made)


def literals(condition: str) -> list[str]:
    return sorted(re.findall(r"'([^']*)'|\b(\d+)\b", condition))


def test_up_and_back_leaves_every_row_and_every_definition_as_it_was(url: str, apply: Run) -> None:
    deploy_awkward_ones(url)
    ask(
        url,
        "insert into training_datasets (user_id, name, format, storage_path) values (gen_random_uuid(), 'a', 'b', 'c')",
    )
    rows, datasets, definitions = deployments(url), ask(url, "select * from training_datasets"), schema(url)
    up(url, apply)
    run(url, VERIFY)
    assert deployments(url) != rows
    down(url, apply)
    assert deployments(url) == rows
    assert ask(url, "select * from training_datasets") == datasets
    assert schema(url) == definitions


def test_each_migration_and_each_way_back_can_be_run_twice(url: str, apply: Run) -> None:
    deploy_awkward_ones(url)
    rows, definitions = deployments(url), schema(url)
    for file in migrations():
        apply(url, file.read_text())
        once = deployments(url), schema(url)
        apply(url, file.read_text())
        assert (deployments(url), schema(url)) == once, file.name
    up(url, apply)
    assert (deployments(url), schema(url)) == once
    for file in ways_back():
        apply(url, file.read_text())
        once = deployments(url), schema(url)
        apply(url, file.read_text())
        assert (deployments(url), schema(url)) == once, file.name
    down(url, apply)
    assert (deployments(url), schema(url)) == (rows, definitions)


def test_up_again_after_the_way_back_comes_to_the_same(url: str) -> None:
    deploy_awkward_ones(url)
    up(url)
    rows, definitions = deployments(url), schema(url)
    down(url)
    up(url)
    assert deployments(url) == rows
    assert {line for line in schema(url) if line[0] != "column"} == {
        line for line in definitions if line[0] != "column"
    }
    run(url, VERIFY)


def test_retired_deployments_say_what_they_were_and_keep_what_they_had(url: str) -> None:
    made = {deploy(url, "lambda-labs", config): config for config in AWKWARD_CONFIGS}
    retire(url)
    for id_, config in made.items():
        query = """select platform, config -> 'retired_platform' ->> 'platform',
                     case when jsonb_typeof(%s::jsonb) = 'object'
                          then config - 'retired_platform' = %s::jsonb - 'retired_platform'
                          else config - 'retired_platform' = '{}'
                               and config -> 'retired_platform' -> 'config' is not distinct from %s::jsonb end
                   from cloud_deployments where id = %s"""
        assert ask(url, query, config, config, config, id_) == [("sagemaker", "lambda-labs", True)], config


def test_nothing_else_is_retired(url: str) -> None:
    others = [deploy(url, platform, config) for platform in PLATFORMS for config in AWKWARD_CONFIGS]
    rows = deployments(url)
    deploy(url, "lambda")
    retire(url)
    assert [row for row in deployments(url) if row[0] in others] == rows


def test_the_way_back_leaves_alone_what_was_made_changed_or_deleted_since(url: str) -> None:
    moved, edited, noted_before, wrapped, deleted, untouched = (
        deploy(url, "lambda", config)
        for config in ('{"a": 1}', '{"a": 1}', '{"retired_platform": "mine"}', "[7]", '{"a": 1}', '{"a": 1}')
    )
    theirs = deploy(url, "sagemaker", '{"retired_platform": {"platform": "lambda"}}')
    before = dict(deployments(url))
    retire(url)
    ask(url, "update cloud_deployments set platform = 'runpod' where id = %s", moved)
    for id_ in (edited, noted_before, wrapped):
        ask(url, """update cloud_deployments set config = config || '{"b": 2}', status = 'failed' where id = %s""", id_)
    ask(url, "delete from cloud_deployments where id = %s", deleted)
    new = deploy(url, "sagemaker", '{"retired_platform": {"platform": "lambda-labs"}}')
    new_row = dict(deployments(url))[new]
    unretire(url)

    after = dict(deployments(url))
    assert set(after) == set(before) - {deleted} | {new}
    assert (after[untouched], after[theirs], after[new]) == (before[untouched], before[theirs], new_row)
    query = "select platform, status, config from cloud_deployments where id = %s"
    assert ask(url, query, moved) == [("runpod", "running", {"a": 1})]
    assert ask(url, query, edited) == [("lambda", "failed", {"a": 1, "b": 2})]
    assert ask(url, query, noted_before) == [("lambda", "failed", {"retired_platform": "mine", "b": 2})]
    platform, _, config = ask(url, query, wrapped)[0]
    assert (platform, config["b"], config["retired_platform"]["config"]) == ("lambda", 2, [7])


def test_a_note_somebody_replaced_is_his(url: str) -> None:
    id_ = deploy(url, "lambda", '{"a": 1}')
    retire(url)
    ask(url, """update cloud_deployments set config = '{"retired_platform": "see ticket 12"}' where id = %s""", id_)
    unretire(url)
    query = "select platform, config from cloud_deployments where id = %s"
    assert ask(url, query, id_) == [("lambda", {"retired_platform": "see ticket 12"})]


def test_a_deployment_made_anew_under_a_retired_id_is_not_taken_for_it(url: str) -> None:
    id_ = deploy(url, "lambda")
    retire(url)
    ask(url, "delete from cloud_deployments where id = %s", id_)
    ask(
        url,
        "insert into cloud_deployments (id, user_id, platform, status) values (%s, gen_random_uuid(), 'sagemaker', 'queued')",
        id_,
    )
    unretire(url)
    assert ask(url, "select platform from cloud_deployments where id = %s", id_) == [("sagemaker",)]


@pytest.mark.parametrize(
    "checks",
    [
        [],
        ["check (platform in ('kaggle', 'runpod', 'lambda', 'lambda-labs', 'huggingface-spaces'))"],  # no sagemaker
        ["check (platform in ('lambda', 'lambda-labs', 'kaggle', 'sagemaker')) not valid"],
        ["check (platform <> '')", "check (platform in ('lambda', 'lambda-labs', 'sagemaker', 'kaggle'))"],
    ],
    ids=["none", "without sagemaker", "not valid", "two"],
)
def test_whatever_check_the_application_had_comes_back(url: str, checks: list[str]) -> None:
    ask(url, "alter table cloud_deployments drop constraint cloud_deployments_platform_check")
    for n, check in enumerate(checks):
        ask(url, f'alter table cloud_deployments add constraint "their Check\'s {n}" {check}')
    for config in AWKWARD_CONFIGS:
        deploy(url, "lambda", config)
        deploy(url, "lambda-labs", config)
        deploy(url, "kaggle", config)
    rows, definitions = deployments(url), schema(url)
    up(url)
    run(url, VERIFY)
    for refused in ("lambda", "lambda-labs", "nowhere"):
        with pytest.raises(psycopg.errors.CheckViolation):
            deploy(url, refused)
    down(url)
    assert (deployments(url), schema(url)) == (rows, definitions)


def test_a_check_that_only_mentions_lambda_is_left_alone_and_no_alarm(url: str) -> None:
    ask(url, "alter table cloud_deployments add constraint theirs check (platform <> 'lambda' or url is null)")
    up(url)
    run(url, VERIFY)
    assert ask(url, "select convalidated from pg_constraint where conname = 'theirs'") == [(True,)]


def test_a_storage_provider_the_application_had_already_says_something_of_every_dataset(url: str, apply: Run) -> None:
    ask(url, "alter table training_datasets add column storage_provider text")
    insert = "insert into training_datasets (user_id, name, format, storage_path, storage_provider) values (gen_random_uuid(), %s, 'b', 'c', %s)"
    ask(url, insert, "old", None)
    ask(url, insert, "new", "s3")
    for _ in range(2):
        up(url, apply)
    ask(
        url,
        "insert into training_datasets (user_id, name, format, storage_path) values (gen_random_uuid(), 'newest', 'b', 'c')",
    )
    providers = dict(ask(url, "select name, storage_provider from training_datasets"))
    assert providers == {"old": "supabase", "new": "s3", "newest": "supabase"}
    with pytest.raises(psycopg.errors.NotNullViolation):
        ask(url, insert, "nowhere", None)


def test_a_platform_column_of_limited_length_is_checked_for_the_same_values_again(url: str) -> None:
    """PostgreSQL writes the casts in such a CHECK differently each time it reads what it wrote; what it takes stays the same."""
    ask(url, "alter table cloud_deployments alter column platform type varchar(50)")
    deploy(url, "lambda", "[1]")
    query = (
        "select conname, pg_get_constraintdef(oid), convalidated from pg_constraint where conname like %s order by 1"
    )
    rows, checks = deployments(url), ask(url, query, "cloud_deployments_%")
    up(url)
    run(url, VERIFY)
    down(url)
    assert deployments(url) == rows
    assert [
        (name, literals(definition), valid) for name, definition, valid in ask(url, query, "cloud_deployments_%")
    ] == [(name, literals(definition), valid) for name, definition, valid in checks]


def test_a_deployment_the_old_check_does_not_know_stays_on_the_way_back(url: str) -> None:
    ask(url, "alter table cloud_deployments drop constraint cloud_deployments_platform_check")
    ask(url, "alter table cloud_deployments add constraint theirs check (platform in ('lambda', 'kaggle'))")
    old = deploy(url, "lambda")
    up(url)
    new = deploy(url, "sagemaker")
    down(url)
    assert dict(ask(url, "select id, platform from cloud_deployments")) == {old: "lambda", new: "sagemaker"}
    assert ask(url, "select convalidated from pg_constraint where conname = 'theirs'") == [(False,)]
    with pytest.raises(psycopg.errors.CheckViolation):
        deploy(url, "sagemaker")


def test_platforms_nobody_told_of_stop_the_retirement_before_anything_changes(url: str) -> None:
    ask(url, "alter table cloud_deployments drop constraint cloud_deployments_platform_check")
    deploy(url, "lambda")
    deploy(url, "vast")
    rows, definitions = deployments(url), schema(url)
    with pytest.raises(psycopg.errors.RaiseException, match="vast"):
        retire(url)
    assert (deployments(url), schema(url)) == (rows, definitions)


def test_the_verification_fails_loudly_while_one_row_is_left(url: str) -> None:
    left = deploy(url, "lambda-labs")
    with pytest.raises(psycopg.errors.RaiseException, match=rf"1 deployment\(s\) are still on Lambda Labs: {left}"):
        run(url, VERIFY)


def test_the_verification_fails_while_lambda_is_let_in_or_nothing_is_checked(url: str) -> None:
    with pytest.raises(
        psycopg.errors.RaiseException, match="still lets Lambda Labs in: cloud_deployments_platform_check"
    ):
        run(url, VERIFY)
    retire(url)
    with pytest.raises(psycopg.errors.RaiseException, match="no validated CHECK"):
        run(url, VERIFY)


def test_a_migration_that_fails_half_way_changes_nothing(url: str) -> None:
    deploy_awkward_ones(url)
    rows, definitions = deployments(url), schema(url)
    script = (SUPABASE / "migrations" / RETIRE).read_text()
    with pytest.raises(psycopg.errors.DivisionByZero):
        run(url, script + "\nselect 1 / 0;")
    assert (deployments(url), schema(url)) == (rows, definitions)


def test_a_lock_that_cannot_be_had_ends_a_migration_soon(url: str) -> None:
    script = (SUPABASE / "migrations" / RETIRE).read_text()
    with psycopg.connect(url) as other:
        other.execute("select * from cloud_deployments")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(url, script.replace("'5s'", "'100ms'"))


def test_datasets_there_before_are_in_supabase_and_only_known_providers_are_taken(url: str) -> None:
    insert = (
        "insert into training_datasets (user_id, name, format, storage_path) values (gen_random_uuid(), 'a', 'b', 'c')"
    )
    ask(url, insert)
    up(url)
    ask(url, insert)
    assert ask(url, "select storage_provider from training_datasets") == [("supabase",), ("supabase",)]
    with pytest.raises(psycopg.errors.CheckViolation):
        ask(url, "update training_datasets set storage_provider = 'S3'")
    with pytest.raises(psycopg.errors.NotNullViolation):
        ask(url, "update training_datasets set storage_provider = null")


def test_the_way_back_is_refused_while_it_would_forget_where_bytes_lie(url: str) -> None:
    up(url)
    ask(
        url,
        """insert into training_datasets (id, user_id, name, format, storage_path, storage_provider)
           values ('11111111-1111-1111-1111-111111111111', gen_random_uuid(), 'a', 'chatml', 'p', 's3')""",
    )
    ask(
        url,
        """insert into dataset_copies
           select id, provider, 'bucket', storage_path, 1, repeat('0', 64), now(), 'me'
           from training_datasets, unnest(array['s3', 'supabase']) provider""",
    )
    ask(
        url,
        """insert into pending_objects
           values ('s3', 'b', 'p', gen_random_uuid(), gen_random_uuid(), 'me', now(), now())""",
    )
    for refusal, remedy in (
        ("1 pending object", "delete from pending_objects"),
        ("1 second cop", "delete from dataset_copies where provider = 'supabase'"),
    ):
        with pytest.raises(psycopg.errors.RaiseException, match=refusal):
            run(url, way_back("dataset_copies"))
        ask(url, remedy)
    run(url, way_back("dataset_copies"))
    with pytest.raises(psycopg.errors.RaiseException, match=r"1 dataset\(s\) lie in S3"):
        run(url, way_back("storage_provider"))
    assert ask(url, "select storage_provider from training_datasets") == [("s3",)]


def test_the_way_back_is_refused_while_it_would_forget_what_was_spent(url: str) -> None:
    up(url)
    ask(
        url,
        """insert into budget_entries
           values (1, 'reserved', 'job-1', 'arn:x', gen_random_uuid(), null, '2026-11', 1.10, 0, 0.115, now())""",
    )
    with pytest.raises(psycopg.errors.RaiseException, match="budget_entries is append-only"):
        ask(url, "delete from budget_entries")
    with pytest.raises(psycopg.errors.RaiseException, match=r"1 entr\(ies\) of the ledger"):
        run(url, way_back("ledger"))
    ask(url, "truncate budget_entries")
    down(url)


def test_the_way_back_is_refused_while_it_would_forget_what_was_done_with_datasets(url: str) -> None:
    up(url)
    ask(url, "insert into dataset_moves (dataset_id, phase, at, by) values (gen_random_uuid(), 'copy', now(), 'me')")
    for change in ("delete from dataset_moves", "update dataset_moves set by = 'somebody else'"):
        with pytest.raises(psycopg.errors.RaiseException, match="dataset_moves is append-only"):
            ask(url, change)
    with pytest.raises(psycopg.errors.RaiseException, match=r"1 move\(s\) of datasets"):
        run(url, way_back("dataset_migration"))
    ask(url, "truncate dataset_moves")
    down(url)


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize(
    "table",
    ["dataset_copies", "pending_objects", "retired_platforms", "retired_platform_checks", "budget_entries", "budget_limits",
     "budget_crossings", "log_positions", "budget_allowances", "budget_sightings", "budget_tellings", "dataset_hindrances",
     "dataset_moves", "budget_readings", "idempotency_keys"],
)  # fmt: skip
def test_visitors_of_the_application_cannot_read_our_tables(url: str, role: str, table: str) -> None:
    up(url)
    with psycopg.connect(url) as connection:
        connection.execute(f"set role {role}")
        connection.execute("select * from training_datasets")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.SQL("select * from {}").format(sql.Identifier(table)))


def test_the_readme_names_every_migration() -> None:
    readme = (SUPABASE / "README.md").read_text()
    assert [file.stem for file in migrations() if f"`{Path(file).stem}`" not in readme] == []
