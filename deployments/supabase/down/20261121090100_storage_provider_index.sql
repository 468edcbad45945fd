-- The picker reads without its index.

select set_config('lock_timeout', '5s', true);

drop index if exists public.training_datasets_picker_idx;
