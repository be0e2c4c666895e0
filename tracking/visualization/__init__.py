"""Film strips and annotated frames."""
