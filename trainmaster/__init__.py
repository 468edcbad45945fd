"""Datasets, budgets, training jobs and endpoints as plain Python; only the doors `cli` and `laptop` know of Prefect."""
