"""The lab's build steps: each makes one kind of part and keeps it in the cache."""
