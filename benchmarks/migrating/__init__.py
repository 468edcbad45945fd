"""What `make bench-migration` is made of: objects, servers, engines, a stopwatch, the loopback bound and the report."""
