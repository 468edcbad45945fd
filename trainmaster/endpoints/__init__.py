"""From a trained model to an endpoint that serves it, planned first, proven before it counts."""
