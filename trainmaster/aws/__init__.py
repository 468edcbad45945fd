"""The only door to boto3: how its clients are set up and which of its errors mean what."""
