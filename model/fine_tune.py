"""The entry point of a fine-tuning job: what AWS's toolkit starts on every host, with the package `model.finetune` beside it."""

import sys

from model.finetune.job import main

if __name__ == "__main__":
    sys.exit(main())
