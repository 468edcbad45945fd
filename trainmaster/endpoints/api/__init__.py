"""The public API of an endpoint: `POST /predict` by CloudFormation, planned, published and withdrawn."""
