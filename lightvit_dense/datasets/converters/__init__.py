"""Makes other forms of a data set of its images."""
