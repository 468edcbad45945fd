"""Looking after what serves: idle or over budget, how versions do, whether what is asked drifts."""
