-- What was answered goes: a request that is sent again is carried out again, which finds what was made of it.

select set_config('lock_timeout', '5s', true);

drop table if exists public.idempotency_keys;
