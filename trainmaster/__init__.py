"""Datasets, budgets, training jobs and endpoints as plain Python; only the doors (`cli`, `laptop`, `api`, `setting_up`) know of Prefect."""
