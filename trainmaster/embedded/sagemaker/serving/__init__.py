"""Endpoints that really serve: fleets of model servers, one process an instance, behind AWS's statuses and errors."""
