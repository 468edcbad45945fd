"""Who may do what: IAM's policies, what each call needs of them, and sessions of roles held to them."""
