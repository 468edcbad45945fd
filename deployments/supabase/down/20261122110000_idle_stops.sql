-- What was stopped for being idle is forgotten: weekly reports say no more what that saved. No bill depends on it.

select set_config('lock_timeout', '5s', true);

drop table if exists public.idle_stops;
