"""Where the golden template lies on a picture, to a fraction of a pixel, whatever the lamp does. Pure."""
