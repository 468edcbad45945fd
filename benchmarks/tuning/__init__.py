"""What `make finetune-demo` is made of: what there is to learn, and a lab that has it learned and served on the embedded AWS."""
