"""Tidy rows, joined into the tables of the papers with published figures beside ours."""
