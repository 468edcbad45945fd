-- Where log readers were goes: they begin anew.

select set_config('lock_timeout', '5s', true);

drop table if exists public.log_positions;
