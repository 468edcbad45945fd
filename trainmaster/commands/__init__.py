"""What the `trainmaster` command does, a module to each subcommand."""
