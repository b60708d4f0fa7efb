"""How often the instrument errs: inputs with a known answer, and counts of what it says of them."""
