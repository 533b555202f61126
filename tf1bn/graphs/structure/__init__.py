"""What the structure of a graph says about its batch norms, before anything of it runs."""
