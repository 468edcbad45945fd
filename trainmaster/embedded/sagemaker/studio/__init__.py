"""Studio: domains, user profiles, spaces, apps and their images; a JupyterLab space really runs JupyterLab."""
