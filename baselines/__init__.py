"""Baseline methods: one file each; see README.md."""
