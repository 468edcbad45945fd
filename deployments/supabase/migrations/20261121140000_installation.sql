-- Which installation of Trainmaster this database is: its jobs bear the id as a tag. Nobody but the service reads it.

select set_config('lock_timeout', '5s', true);

create table if not exists public.installation (
  one integer primary key constraint installation_one_check check (one = 1),
  id uuid not null
);

do $$
declare
  visitor name;
begin
  alter table public.installation enable row level security;
  revoke all on public.installation from public;
  for visitor in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
    execute format('revoke all on public.installation from %I', visitor);
  end loop;
end
$$;
