"""Datasets, budgets, training jobs and endpoints as plain Python. Nothing here imports Prefect."""
