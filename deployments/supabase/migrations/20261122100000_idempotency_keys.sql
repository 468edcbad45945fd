-- What was answered to requests over HTTP that carried an Idempotency-Key, for a day. Nobody but the service reads it.

select set_config('lock_timeout', '5s', true);

create table if not exists public.idempotency_keys (
  user_id uuid not null,
  key text not null,
  fingerprint text not null,
  at timestamptz not null,
  status integer,
  answer text,
  primary key (user_id, key)
);

create index if not exists idempotency_keys_at_idx on public.idempotency_keys (at);

do $$
declare
  visitor name;
begin
  alter table public.idempotency_keys enable row level security;
  revoke all on public.idempotency_keys from public;
  for visitor in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
    execute format('revoke all on public.idempotency_keys from %I', visitor);
  end loop;
end
$$;
