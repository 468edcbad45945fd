"""What stands behind a public API on this machine: CloudFormation's resources, API Gateway's addresses, Lambda's functions."""
