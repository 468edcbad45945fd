"""What happened, what it cost and what now: the page of each run, and the report of each week."""
