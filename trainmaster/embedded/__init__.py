"""AWS on this machine, doing real work: S3 by SeaweedFS, SageMaker by us, the rest by moto."""
