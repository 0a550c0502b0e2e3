"""What users and the project test with: contract suites, fixtures, a manual clock."""
