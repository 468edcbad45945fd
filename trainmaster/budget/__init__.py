"""What things cost, and what was approved. Money is Decimal, in US dollars, everywhere."""
