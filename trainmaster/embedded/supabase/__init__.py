"""Supabase Storage on this machine: its HTTP API over a folder, answering as Supabase's own server does, refusals included."""
