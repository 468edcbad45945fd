-- One user's datasets at one provider, newest first: a page of the dataset picker.
--
-- Not CONCURRENTLY: that cannot run in a transaction, and only the newest Supabase command lines take such a statement out of
-- theirs. A plain one blocks writers while it builds, milliseconds for a hundred thousand rows, and whatever fails leaves no
-- invalid index behind. In a file of its own, so that the lock is held for nothing else.

select set_config('lock_timeout', '5s', true);

create index if not exists training_datasets_picker_idx
  on public.training_datasets (user_id, storage_provider, created_at desc, id desc);
