"""Training with registers: from scratch, and by fine-tuning with a norm penalty.

``trainer`` is the loop, ``batches`` its images, ``losses`` what it minimises, ``distributed`` the
processes of several GPUs (DDP). ``summary`` says what a training changed, ``page`` shows it,
``emergence`` when outliers came.
"""
