-- Trainmaster's books: what was reserved, billed and released, which budgets were set, and which thresholds people were told of.
-- Rows are added, never changed and never deleted. Nobody but the service reads them: row-level security without a policy, and
-- no grants.

select set_config('lock_timeout', '5s', true);

create table if not exists public.budget_entries (
  position bigint primary key,
  kind text not null constraint budget_entries_kind_check check (kind in ('reserved', 'settled', 'released')),
  key text not null,
  resource text not null,
  user_id uuid,
  team text,
  month text not null,
  reserved numeric not null,
  settled numeric not null,
  hourly numeric not null,
  at timestamptz not null
);
create index if not exists budget_entries_key_idx on public.budget_entries (key, position);
create index if not exists budget_entries_month_idx on public.budget_entries (month);

create table if not exists public.budget_limits (
  position bigint primary key,
  budget text not null,
  month text not null,
  amount numeric,
  set_by text not null,
  at timestamptz not null
);
create index if not exists budget_limits_budget_idx on public.budget_limits (budget, month);

create table if not exists public.budget_crossings (
  budget text not null,
  month text not null,
  percent integer not null,
  committed numeric not null,
  amount numeric not null,
  at timestamptz not null,
  primary key (budget, month, percent)
);

create or replace function public.trainmaster_append_only() returns trigger language plpgsql set search_path = '' as $$
begin
  raise exception '% is append-only', tg_table_name;
end
$$;

do $$
declare
  books text;
  visitor name;
begin
  foreach books in array array['budget_entries', 'budget_limits', 'budget_crossings'] loop
    execute format('alter table public.%I enable row level security', books);
    execute format('revoke all on public.%I from public', books);
    -- Supabase grants these two everything in the schema public, new tables included.
    for visitor in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
      execute format('revoke all on public.%I from %I', books, visitor);
    end loop;
    execute format(
      'create or replace trigger append_only before update or delete on public.%I'
      ' for each row execute function public.trainmaster_append_only()', books
    );
  end loop;
end
$$;
