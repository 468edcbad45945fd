"""Fine-tunes a language model inside a SageMaker training job: supervised, on preferences, or on raw text.

`job.py` runs on every host and starts a process for each GPU; `training.py` is such a process. Runs as it is in AWS's Hugging Face
container (requirements.txt has its versions), and on a CPU with models small enough.
"""
