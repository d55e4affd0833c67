"""What a stack consists of: the components that the bill of materials registers."""
