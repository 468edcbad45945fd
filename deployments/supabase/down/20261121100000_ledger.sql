-- Trainmaster's books go. Refused while there is anything in them: nobody else knows what was spent.

select set_config('lock_timeout', '5s', true);

do $$
declare
  written bigint;
begin
  if to_regclass('public.budget_entries') is not null then
    lock table public.budget_entries in access exclusive mode;
    select count(*) into written from public.budget_entries;
    if written > 0 then
      raise exception '% entr(ies) of the ledger would be forgotten', written
        using hint = 'Let no job run, keep a copy, then: truncate public.budget_entries.';
    end if;
  end if;
end
$$;

drop table if exists public.budget_entries;
drop table if exists public.budget_limits;
drop table if exists public.budget_crossings;
drop function if exists public.trainmaster_append_only();
