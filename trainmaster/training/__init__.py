"""From a request to a training job that runs once, is followed to its end, and is billed by what AWS reports."""
