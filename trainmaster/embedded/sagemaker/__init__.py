"""The SageMaker API: validated as AWS validates it, with jobs that run and endpoints that serve."""
