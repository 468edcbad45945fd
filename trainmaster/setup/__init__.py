"""What `trainmaster setup` makes of a Prefect server: what there should be, as data, and the plan that leads there. Imports no Prefect."""
