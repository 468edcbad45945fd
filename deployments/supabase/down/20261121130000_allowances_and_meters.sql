-- Allowances and meters go. Refused while there are any: nobody else knows what was approved, and what is still to be billed.

select set_config('lock_timeout', '5s', true);

do $$
declare
  written bigint;
begin
  if to_regclass('public.budget_allowances') is not null and to_regclass('public.budget_sightings') is not null then
    lock table public.budget_allowances, public.budget_sightings in access exclusive mode;
    select (select count(*) from public.budget_allowances) + (select count(*) from public.budget_sightings) into written;
    if written > 0 then
      raise exception '% allowance(s) and sighting(s) would be forgotten', written
        using hint = 'Let no endpoint serve, keep a copy, then: truncate public.budget_allowances, public.budget_sightings.';
    end if;
  end if;
end
$$;

drop index if exists public.budget_entries_resource_idx;
drop table if exists public.budget_allowances;
drop table if exists public.budget_sightings;
drop table if exists public.budget_tellings;
