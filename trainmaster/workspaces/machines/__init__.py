"""What a workspace on EC2 consists of: an instance, its volume, a security group, what it may do, and how it sets itself up."""
