"""What, where and when a code draws."""
