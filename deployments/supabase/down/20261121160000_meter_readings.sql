-- Readings of meters go. Refused while there are any: nobody else knows how much ran when, which is still to be billed.

select set_config('lock_timeout', '5s', true);

do $$
declare
  written bigint;
begin
  if to_regclass('public.budget_readings') is not null then
    lock table public.budget_readings in access exclusive mode;
    select count(*) from public.budget_readings into written;
    if written > 0 then
      raise exception '% reading(s) would be forgotten', written
        using hint = 'Let no endpoint serve, keep a copy, then: truncate public.budget_readings.';
    end if;
  end if;
end
$$;

drop table if exists public.budget_readings;
