-- The tables as the application that owns them had them, on a Supabase project: no storage_provider, Lambda Labs among the
-- platforms, and everything in the schema public granted to everybody.

alter default privileges in schema public grant all on tables to anon, authenticated, service_role;

create table public.training_configs (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null,
  name text not null,
  config_json jsonb not null
);

create table public.training_datasets (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null,
  config_id uuid references public.training_configs (id) on delete set null,
  name text not null,
  description text,
  format text not null,
  storage_path text not null,
  file_size_bytes bigint,
  total_examples bigint,
  avg_input_length double precision,
  avg_output_length double precision,
  metadata jsonb,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
alter table public.training_datasets enable row level security;

create table public.training_config_datasets (
  config_id uuid not null references public.training_configs (id) on delete cascade,
  dataset_id uuid not null references public.training_datasets (id) on delete cascade,
  primary key (config_id, dataset_id)
);

create table public.cloud_deployments (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null,
  platform text not null check (
    platform in (
      'kaggle', 'runpod', 'sagemaker', 'lambda', 'lambda-labs', 'huggingface-spaces', 'local-vllm', 'google-colab'
    )
  ),
  training_config_id uuid references public.training_configs (id) on delete set null,
  deployment_id text,
  status text not null check (
    status in (
      'queued', 'creating', 'building', 'starting', 'running', 'training', 'completed', 'failed', 'cancelled', 'stopping',
      'stopped'
    )
  ),
  url text,
  config jsonb,
  estimated_cost numeric,
  actual_cost numeric,
  budget_limit numeric,
  metrics jsonb,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  logs text,
  error_message text,
  checkpoint_urls text[]
);
alter table public.cloud_deployments enable row level security;
create index cloud_deployments_user_id_idx on public.cloud_deployments (user_id);
