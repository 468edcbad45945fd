"""Datasets on their way from Supabase to S3, in phases that can be undone until the last."""
