-- Workspaces go. Refused while one is not deleted: nobody else knows whose it is, and what is paid for it.

select set_config('lock_timeout', '5s', true);

do $$
declare
  there bigint;
begin
  if to_regclass('public.workspaces') is not null then
    lock table public.workspaces in access exclusive mode;
    select count(*) from public.workspaces where status <> 'deleted' into there;
    if there > 0 then
      raise exception '% workspace(s) would be forgotten', there
        using hint = 'Delete them with trainmaster delete, then run this again.';
    end if;
  end if;
end
$$;

drop table if exists public.workspaces;
