"""One-pass evaluation: success, precision, and their likes."""
