"""What models can do and cost: the catalogue that ships, what operators put over it, and what a usage costs."""
