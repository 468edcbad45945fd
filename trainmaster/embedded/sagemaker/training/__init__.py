"""Training jobs that really run: AWS's training toolkit in a namespace of the job's own, with S3 and CloudWatch around it."""
