-- Whose object lies at a path: asked before an object is removed. A plain index in a file of its own, as for the dataset picker.

select set_config('lock_timeout', '5s', true);

create index if not exists training_datasets_path_idx on public.training_datasets (storage_path);
