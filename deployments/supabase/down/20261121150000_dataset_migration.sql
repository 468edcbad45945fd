-- What was done with datasets goes, and why some could not be moved. Refused while it is known of any: nobody else knows it.

select set_config('lock_timeout', '5s', true);

do $$
declare
  written bigint;
begin
  if to_regclass('public.dataset_moves') is not null then
    lock table public.dataset_moves in access exclusive mode;
    select count(*) into written from public.dataset_moves;
    if written > 0 then
      raise exception '% move(s) of datasets would be forgotten', written
        using hint = 'Let no migration run, keep a copy, then: truncate public.dataset_moves.';
    end if;
  end if;
end
$$;

drop table if exists public.dataset_hindrances;
drop table if exists public.dataset_moves;
drop index if exists public.dataset_copies_verified_idx;
drop index if exists public.pending_objects_holder_idx;
alter table if exists public.dataset_copies drop column if exists version;
alter table if exists public.pending_objects
  drop column if exists upload_id, drop column if exists part_size, drop column if exists source_version;
