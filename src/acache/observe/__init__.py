"""What a cache does, in the words of monitoring systems. Each needs its extra: see the modules."""
