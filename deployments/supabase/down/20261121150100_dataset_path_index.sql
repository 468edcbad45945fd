-- Objects are looked for by their path without an index.

select set_config('lock_timeout', '5s', true);

drop index if exists public.training_datasets_path_idx;
