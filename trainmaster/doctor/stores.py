"""The catalogue's database, and the Supabase project."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from sqlalchemy import text

from trainmaster.catalog.database import open_database
from trainmaster.catalog.schema import lacking
from trainmaster.doctor.findings import Finding, failure, ok, warning
from trainmaster.settings import Settings
from trainmaster.storage.supabase_calls import storage_base

_SECONDS = httpx.Timeout(15, connect=5)


def database(settings: Settings) -> Iterator[Finding]:
    """That it can be read and has what this version needs. Raises NotConfiguredError and CatalogueUnavailableError."""
    url = settings.catalogue_url
    if url is None and not (settings.state_dir / "catalog.db").exists():
        yield ok("database", f"SQLite in {settings.state_dir}, made when it is first needed")
        return
    opened = open_database(url, settings.state_dir)
    try:
        with opened.reading() as connection:
            connection.execute(text("select 1"))
    finally:
        opened.close()
    if url is None:
        yield ok("database", f"SQLite in {settings.state_dir}: this machine's alone, until DATABASE_URL is set")
        return
    yield ok("database", f"{opened} answers")
    if lacks := lacking(url):
        named = ", ".join(one.name for one in lacks)
        fix = "`trainmaster setup --database` applies them; deployments/supabase/README.md says what each does."
        yield failure("migrations", f"{len(lacks)} are not applied: {named}", fix)
    else:
        yield ok("migrations", "all are applied")


def supabase(settings: Settings, bucket: str) -> Iterator[Finding]:
    """That the project's storage answers to the key, and has the bucket of datasets."""
    if not settings.supabase_url:
        yield ok("Supabase", "SUPABASE_URL is not set: datasets are in S3 alone")
        return
    key = settings.required("supabase_service_role_key")
    address = f"{storage_base(settings.supabase_url)}/bucket/{bucket}"
    try:
        answer = httpx.get(address, headers={"Authorization": f"Bearer {key}", "apikey": key}, timeout=_SECONDS)
    except httpx.HTTPError as error:
        fix = "Correct SUPABASE_URL (https://PROJECT.supabase.co), or wake the project: free ones are paused after a week."
        yield failure("Supabase", f"{settings.supabase_url} does not answer ({type(error).__name__})", fix)
        return
    if answer.is_success:
        yield ok("Supabase", f"{settings.supabase_url} has the bucket {bucket}")
    elif "not found" in answer.text.lower():  # Storage says 400 and means 404
        yield failure("Supabase", f"there is no bucket {bucket}", "Make it in the dashboard (Storage), private.")
    elif answer.status_code in (400, 401, 403):
        fix = "Set SUPABASE_SERVICE_ROLE_KEY to the service-role key of this project (Settings, API keys)."
        yield failure("Supabase", f"refuses the key ({answer.status_code})", fix)
    else:
        yield failure(
            "Supabase", f"answers {answer.status_code}", "Look at status.supabase.com and the project's dashboard."
        )
    if settings.supabase_jwt_secret is None:
        fix = "Set SUPABASE_JWT_SECRET, or TRAINMASTER_HTTP_JWKS_URL, where the HTTP API runs."
        if not settings.http_jwks_url:
            yield warning("Supabase", "the HTTP API could not check its users' tokens", fix)
