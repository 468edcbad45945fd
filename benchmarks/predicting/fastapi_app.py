"""The least somebody would write to serve the model: a FastAPI application, to be run by uvicorn. MODEL names the folder of the artifact."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
from fastapi import FastAPI
from pydantic import BaseModel

FOLDER = Path(os.environ["MODEL"])
MODEL = joblib.load(FOLDER / "model.joblib")
VERSION = json.loads((FOLDER / "model_card.json").read_text())["model_version"]

app = FastAPI()


class House(BaseModel):
    bedrooms: float
    bathrooms: float
    sqft: float
    year_built: float


@app.post("/predict")
def predict(house: House) -> dict[str, Any]:
    [price] = MODEL.predict([[house.bedrooms, house.bathrooms, house.sqft, house.year_built]])
    return {"predicted_price": round(price), "model_version": VERSION, "timestamp": datetime.now(UTC).isoformat()}
