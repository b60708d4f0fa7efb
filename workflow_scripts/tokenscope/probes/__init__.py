"""Claim 4: linear probes of what tokens know of their place, their pixels and the class.

``questions`` puts the three questions, ``tasks`` says what each predicts, ``token_rows`` whose
tokens are asked, ``trainer`` fits many probes as one, ``logistic_regression`` is the other recipe.
"""
