"""Studio, Canvas and Studio Lab: domains, profiles, spaces and apps, planned and made."""
