"""What nasdsl finds in an installed package: a strategy, an operation, a task and an evaluator."""
