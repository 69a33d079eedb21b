"""Where engines run: device masks, splits, admission, memory given back, and devices' faults. Pure."""
