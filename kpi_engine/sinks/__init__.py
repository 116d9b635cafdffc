"""From topics into the store, where people read: windows, points of control charts, review figures."""
