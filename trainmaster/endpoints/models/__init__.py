"""What is served: packages and their code, their proof, and the registry that says which are approved."""
