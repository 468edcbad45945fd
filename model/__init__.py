"""What runs inside the SageMaker container. Nothing here imports the rest of the project."""
