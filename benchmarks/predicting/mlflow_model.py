"""The model as MLflow keeps one: `mlflow_model.py ARTIFACT FOLDER`, run by an environment that has MLflow."""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import mlflow.sklearn

artifact, folder = map(Path, sys.argv[1:])
mlflow.sklearn.save_model(joblib.load(artifact / "model.joblib"), folder, pip_requirements=["scikit-learn"])
