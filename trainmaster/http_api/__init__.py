"""What web applications ask over HTTP: the same rules, functions and deployments as everywhere else. Plain FastAPI, no Prefect."""
