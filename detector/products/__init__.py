"""What a product is known by: its golden template, its camera, and how good a picture of it has to be."""
