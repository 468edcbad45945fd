-- Trainmaster's own tables: the verified copies of each dataset, and the objects no dataset vouches for (on their way in, or to
-- be removed). Nobody but the service reads them: row-level security without a policy, and no grants.

select set_config('lock_timeout', '5s', true);

create table if not exists public.dataset_copies (
  dataset_id uuid not null references public.training_datasets (id) on delete cascade,
  provider text not null constraint dataset_copies_provider_check check (provider in ('supabase', 's3')),
  bucket text not null,
  path text not null,
  size_bytes bigint not null constraint dataset_copies_size_bytes_check check (size_bytes >= 0),
  sha256 text not null constraint dataset_copies_sha256_check check (length(sha256) = 64),
  verified_at timestamptz not null,
  verified_by text not null,
  primary key (dataset_id, provider)
);

-- One object is one dataset's, so that deleting this dataset may delete it.
create unique index if not exists dataset_copies_object_idx on public.dataset_copies (provider, bucket, path);

create table if not exists public.pending_objects (
  provider text not null constraint pending_objects_provider_check check (provider in ('supabase', 's3')),
  bucket text not null,
  path text not null,
  dataset_id uuid not null,
  user_id uuid not null,
  holder text not null,
  lease_until timestamptz not null,
  started_at timestamptz not null,
  primary key (provider, bucket, path)
);

create index if not exists pending_objects_lease_until_idx on public.pending_objects (lease_until);

alter table public.dataset_copies enable row level security;
alter table public.pending_objects enable row level security;
revoke all on public.dataset_copies, public.pending_objects from public;

do $$
declare
  visitor name;
begin
  -- Supabase grants these two everything in the schema public, new tables included.
  for visitor in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
    execute format('revoke all on public.dataset_copies, public.pending_objects from %I', visitor);
  end loop;
end
$$;
