-- The installation's id goes. Jobs that bear it are nobody's orphans then: let none run.

select set_config('lock_timeout', '5s', true);

drop table if exists public.installation;
