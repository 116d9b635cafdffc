"""Parts of a picture: the region looked at, tiles of a large one, and what was said of them put together again."""
