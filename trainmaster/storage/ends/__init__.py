"""Where the copy engine reads and puts objects: Supabase and S3, by obstore, and what their refusals mean."""
