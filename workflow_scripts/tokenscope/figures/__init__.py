"""What figures share: their style, maps of gallery images, one backbone at a glance."""
