-- Trainmaster's own tables go. Refused while they are the only ones to know of an object: it would lie there unseen for ever.

select set_config('lock_timeout', '5s', true);

do $$
declare
  unseen bigint;
begin
  if to_regclass('public.pending_objects') is not null then
    lock table public.pending_objects in access exclusive mode;
    select count(*) into unseen from public.pending_objects;
    if unseen > 0 then
      raise exception '% pending object(s) would be forgotten', unseen
        using hint = 'Let uploads end and abandoned objects be swept: select * from pending_objects.';
    end if;
    drop table public.pending_objects;
  end if;

  if to_regclass('public.dataset_copies') is not null then
    lock table public.dataset_copies in access exclusive mode;
    select count(*) into unseen
    from public.dataset_copies copy
    join public.training_datasets dataset on dataset.id = copy.dataset_id
    where (copy.provider, copy.path) is distinct from (dataset.storage_provider, dataset.storage_path);
    if unseen > 0 then
      raise exception '% second cop(ies) of datasets would be forgotten', unseen
        using hint = 'Remove them first: those of dataset_copies whose provider is not the storage_provider of their dataset.';
    end if;
    drop table public.dataset_copies;
  end if;
end
$$;
