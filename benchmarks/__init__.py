"""What the processor costs, and what the alternatives cost on the same work. docs/performance.md says more."""
